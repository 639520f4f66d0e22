"""Which teacher the parameters name: impossible combinations, found before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.config.data import NO_FILE

if TYPE_CHECKING:
    from distill.config.params import Params
    from distill.config.schema import Teacher


def check(params: Params) -> None:
    """Raise a ValueError where section `teacher`, or that of an ensemble's member, contradicts itself."""
    for field, teacher in (
        ("teacher", params.teacher),
        *((f"{name}.teacher", m) for name, m in params.members.items()),
    ):
        _check_predictions(teacher, field)


def _check_predictions(teacher: Teacher, field: str) -> None:
    if teacher.source == "predictions" and teacher.predictions == NO_FILE:
        raise ValueError(
            f"{field}.source is 'predictions' but {field}.predictions is {NO_FILE}: name a file, or a folder of files,"
            f" of .parquet, .jsonl or .csv, or set {field}.source to model"
        )
    if teacher.source != "predictions" and teacher.predictions != NO_FILE:
        raise ValueError(
            f"{field}.predictions is {teacher.predictions!r} but {field}.source is {teacher.source!r}, which reads"
            f" none: set it to {NO_FILE}, or {field}.source to predictions"
        )
