"""Which settings of trainings go with which task: impossible combinations, found before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distill.config.params import Params


def check(params: Params) -> None:
    """Raise a ValueError where the sections of trainings do not fit the task."""
    if params.teacher.labels is not None and params.task != "classification":
        raise ValueError(
            f"teacher.labels is {params.teacher.labels} but task is {params.task!r}, whose heads have no classes: set"
            " it to null"
        )
