"""Processes that are DVC."""

from __future__ import annotations

import contextlib
import os

import psutil

from pipeline.process.command_line import command_line

#: The program, and the module that runs it with less reading.
_NAMES = {"dvc", "pipeline.commands.quick_dvc"}


def is_dvc(process: psutil.Process) -> bool:
    """Whether a process is the program `dvc`, also as a script or a module of Python, or in `quick_dvc`."""
    with contextlib.suppress(psutil.Error):
        words = [os.path.basename(word) for word in command_line(process)[:3]]
        return process.name() == "dvc" or not _NAMES.isdisjoint(words)
    return False
