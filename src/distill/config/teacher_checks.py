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
    _check_snapshots(params)


def _check_snapshots(params: Params) -> None:
    """Raise a ValueError where checkpoints are to be kept of a training that is not made, or may end early."""
    if members := [name for name, member in params.members.items() if member.snapshots]:
        raise ValueError(
            f"{members[0]}.teacher.snapshots: {params.members[members[0]].snapshots}, but students learn from an"
            " ensemble's mean, not from checkpoints of a member: set it to 0"
        )
    teacher = params.teacher
    if not teacher.snapshots:
        return
    why, fix = "", "set it to 0"
    if teacher.source != "model":
        why = f"teacher.source is {teacher.source!r}: there is no training to keep checkpoints of"
    elif not teacher.train:
        why = "teacher.train is false: there is no training to keep checkpoints of"
    elif teacher.patience is not None:
        why = f"teacher.patience is {teacher.patience}, which may end the training before the last of them"
        fix = "set one of them to 0 or null"
    if why:
        raise ValueError(f"teacher.snapshots: {teacher.snapshots}, but {why}: {fix}")


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
