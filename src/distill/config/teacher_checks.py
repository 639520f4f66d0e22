"""Which teacher the parameters name: impossible combinations, found before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.config.data import NO_FILE

if TYPE_CHECKING:
    from distill.config.params import Params


def check(params: Params) -> None:
    """Raise a ValueError where section `teacher` contradicts itself."""
    teacher = params.teacher
    if teacher.source == "predictions" and teacher.predictions == NO_FILE:
        raise ValueError(
            f"teacher.source is 'predictions' but teacher.predictions is {NO_FILE}: name a file, or a folder of files,"
            " of .parquet, .jsonl or .csv, or set teacher.source to model"
        )
    if teacher.source == "model" and teacher.predictions != NO_FILE:
        raise ValueError(
            f"teacher.predictions is {teacher.predictions!r} but teacher.source is 'model', which reads none: set it to"
            f" {NO_FILE}, or teacher.source to predictions"
        )
