"""Engines that run jobs: one file each, imported when it is asked for, because most are extras."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.fan.backends.base import Backend

NAMES = ("local", "slurm", "ray", "sky")


def make(name: str, folder: Path, options: argparse.Namespace) -> Backend:
    """The engine that was asked for.

    Args:
        name: one of `NAMES`.
        folder: for its files, named as the fan-out.
        options: of the command line.

    Raises:
        UserError: its package is not installed, or it refuses an option.
    """
    given = dict(options.option)
    elsewhere = f"{options.work or '$HOME/fan'}/{folder.name}"
    if name == "ray":
        from pipeline.fan.backends.ray import Ray

        return Ray(elsewhere, options.gpus, given, options.setup)
    if name == "sky":
        from pipeline.fan.backends.sky import Sky

        return Sky(folder.name, elsewhere, options.gpus, given, options.setup)
    from pipeline.fan.backends.submit import Submitit

    here = f"{options.work}/{folder.name}" if options.work else str(folder / "nodes")
    return Submitit(name, folder / "submitit", here, options.gpus, given, options.setup, options.slots)
