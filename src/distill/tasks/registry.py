"""Which tasks there are: one file each, loaded by name."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from distill.tasks.base import Task

FOLDER = Path(__file__).parent


def task_names() -> list[str]:
    """Names of all tasks, sorted: the files of ``tasks/`` that name one."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if "\nTASK = " in path.read_text(encoding="utf-8"))


def load_task(name: str, metric: str | None = None, labels: Sequence[str] = ()) -> Task:
    """The task of ``tasks/<name>.py``; the typed loader has checked that it exists.

    Args:
        metric: name of the score by which models are compared; None: the task's default.
        labels: names of the classes, where the task has classes (meta.json of the prepared data).
    """
    return importlib.import_module(f"distill.tasks.{name}").TASK(metric=metric, labels=labels)
