"""Which teacher layer each student layer learns from (layers count from 1; 0 would be the embeddings)."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import UserError

if TYPE_CHECKING:
    from distill.config import Params
    from distill.sections import Model


def resolve(layers: str | list[int], student: int, teacher: int, field: str) -> list[int]:
    """Teacher layers for student layers 1…`student`.

    Args:
        layers: `uniform` (k·N/K, rounded up: the last of each block), `last` (the last K), `skip` (every other,
            counted from layer 2), or an explicit list.
        student: number of student layers K.
        teacher: number of teacher layers N.
        field: the parameter's name, for error messages.

    Raises:
        UserError: K > N, or a list of the wrong length, or a layer that the teacher does not have.
    """
    if isinstance(layers, list):
        if len(layers) != student:
            raise UserError(f"params.yaml: {field}: {layers}: {len(layers)} entries for {student} student layers")
        if wrong := [layer for layer in layers if not 1 <= layer <= teacher]:
            raise UserError(f"params.yaml: {field}: layer {wrong[0]} is not among the teacher's 1…{teacher}")
        return list(layers)
    if student > teacher:
        raise UserError(
            f"params.yaml: {field}: {layers!r} maps onto fewer layers: the student has {student}, the teacher"
            f" {teacher}: give an explicit list"
        )
    if layers == "uniform":
        return [-(-k * teacher // student) for k in range(1, student + 1)]
    if layers == "last":
        return list(range(teacher - student + 1, teacher + 1))
    if 2 * student > teacher:
        raise UserError(
            f"params.yaml: {field}: 'skip' takes every other layer and needs a teacher of at least {2 * student}"
            f" layers, it has {teacher}: use 'uniform'"
        )
    return [2 * k for k in range(1, student + 1)]


def resolve_inner(layers: str | list[int], student: int, teacher: int, field: str) -> list[int]:
    """Teacher layers for student layers 1…K−1: those of `resolve` without the last one, which the logits teach.

    Args:
        layers: as for `resolve`; an explicit list has K−1 entries.
        student, teacher, field: as for `resolve`.

    Raises:
        UserError: as for `resolve`; or the student has one layer only.
    """
    if student < 2:
        raise UserError(
            f"params.yaml: {field}: the student has {student} layer, and its last layer takes no part: give it two"
            " layers or more, or choose another method"
        )
    if not isinstance(layers, list):
        return resolve(layers, student, teacher, field)[:-1]
    if len(layers) != student - 1:
        raise UserError(
            f"params.yaml: {field}: {layers}: {len(layers)} entries for student layers 1…{student - 1} (the last one"
            f" takes no part): give {student - 1}"
        )
    return resolve(layers, student - 1, teacher, field)


def stated_layers(params: Params, role: str) -> int | None:
    """A model's number of layers where the parameters say it; a checkpoint may know better than they.

    Args:
        role: `teacher`, or `student` as distillation starts from it.
    """
    if role == "student":
        section = params.student
        start = section.init if params.distill.init == "finetuned" else params.distill.init
        if start == "teacher_layers" and isinstance(section.layers, list):
            return len(section.layers)
        if start == "teacher_layers" and section.num_layers is not None:
            return section.num_layers
    return stated_depth(getattr(params, role).model)


def stated_depth(model: Model) -> int | None:
    """The number of layers that a section `model` or its local checkpoint states; None for one of the hub."""
    known = dict(model.config)
    if model.path is not None:
        with contextlib.suppress(OSError, ValueError, TypeError):
            known = json.loads((Path(model.path) / "config.json").read_text()) | known
    return known.get("num_hidden_layers", known.get("n_layers"))  # n_layers: DistilBERT


def stated(params: Params) -> tuple[int, int] | None:
    """(student's, teacher's) number of layers where the parameters say both; otherwise None."""
    student, teacher = (stated_layers(params, role) for role in ("student", "teacher"))
    return None if student is None or teacher is None else (student, teacher)
