"""Engines that run jobs: one file each, imported when it is asked for, because most are extras."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.fan.backends.base import Backend

NAMES = ("local", "slurm")


def make(name: str, folder: Path, options: argparse.Namespace) -> Backend:
    """The engine that was asked for.

    Args:
        name: one of `NAMES`.
        folder: for its files, of this run.
        options: of the command line.

    Raises:
        UserError: its package is not installed, or it refuses an option.
    """
    given = dict(options.option)
    from pipeline.fan.backends.submit import Submitit

    work = options.work or str(folder / "nodes")
    return Submitit(name, folder / "submitit", work, options.gpus, given, options.setup)
