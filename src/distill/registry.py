"""Which methods and tasks there are: one file in ``methods/`` or ``tasks/`` each, loaded by name.

Loading by name, not by import statements, keeps a stage's code dependencies to the one method and task that it runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import UserError

if TYPE_CHECKING:
    from distill.methods.base import Method
    from distill.tasks.base import Task

FOLDER = Path(__file__).parent / "methods"
# Shared code that lives beside the methods.
NOT_METHODS = {"__init__", "base"}


@cache
def available() -> list[str]:
    """Names of all methods, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in NOT_METHODS)


def load(name: str) -> type[Method]:
    """The :class:`~distill.methods.base.Method` subclass of ``methods/<name>.py``.

    Raises:
        UserError: there is no such file.
    """
    if name not in available():
        raise UserError(f"no method {name!r}: known are {', '.join(available())}")
    return importlib.import_module(f"distill.methods.{name}").METHOD


def tasks() -> list[str]:
    """Names of all tasks, sorted: the files of ``tasks/`` that name one."""
    folder = Path(__file__).parent / "tasks"
    return sorted(path.stem for path in folder.glob("*.py") if "\nTASK = " in path.read_text())


def load_task(name: str, metric: str | None = None, labels: Sequence[str] = ()) -> Task:
    """The task of ``tasks/<name>.py``; the typed loader has checked that it exists.

    Args:
        metric: the score by which models are compared; None: the task's usual one.
        labels: names of the classes, where the task has classes (meta.json of the prepared data).
    """
    return importlib.import_module(f"distill.tasks.{name}").TASK(metric=metric, labels=labels)
