"""Processes that are DVC."""

from __future__ import annotations

import contextlib
import os

import psutil


def is_dvc(process: psutil.Process) -> bool:
    """Whether a process is the program `dvc`, also as a script or a module of Python."""
    with contextlib.suppress(psutil.Error):
        words = [os.path.basename(word) for word in process.cmdline()[:3]]
        return process.name() == "dvc" or "dvc" in words
    return False
