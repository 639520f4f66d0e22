"""Which teacher layer each student layer learns from (layers count from 1; 0 would be the embeddings)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config.model_shape import FEWER_HEADS, MOST_LAYERS, is_size
from distill.errors import UserError
from distill.runtime import json_text

if TYPE_CHECKING:
    from distill.config.params import Params
from distill.config.schema import Model

#: Function from (`student` or `teacher`, a key of FIELDS) to its number; None where it is not known.
Counts = Callable[[str, str], int | None]
#: What can be counted of a model, and the names it has in configurations (the second: DistilBERT's).
FIELDS = {"layers": ("num_hidden_layers", "n_layers"), "heads": ("num_attention_heads", "n_heads")}


def resolve(layers: str | list[int], student: int, teacher: int, field: str) -> list[int]:
    """Teacher layers for student layers 1…`student`.

    Args:
        layers: `uniform` (k·N/K, rounded up: the last of each block), `last` (the last K), `skip` (every other,
            counted from layer 2), `first` (the first K), `reversed` (`uniform` in descending order), or an explicit
            list.
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
    if layers in ("uniform", "reversed"):
        even = [-(-k * teacher // student) for k in range(1, student + 1)]
        return even[::-1] if layers == "reversed" else even
    if layers == "first":
        return list(range(1, student + 1))
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
        layers: as for `resolve`; an explicit list has K−1 entries, `reversed` are those of `uniform` in descending
            order.
        student, teacher, field: as for `resolve`.

    Raises:
        UserError: as for `resolve`; or the student has one layer only.
    """
    if student < 2:
        raise UserError(
            f"params.yaml: {field}: the student has {student} layer, and its last layer takes no part: give it two"
            " layers or more, or choose another method"
        )
    if layers == "reversed":
        return resolve(layers, student, teacher, field)[1:]
    if not isinstance(layers, list):
        return resolve(layers, student, teacher, field)[:-1]
    if len(layers) != student - 1:
        raise UserError(
            f"params.yaml: {field}: {layers}: {len(layers)} entries for student layers 1…{student - 1} (the last one"
            f" takes no part): give {student - 1}"
        )
    return resolve(layers, student - 1, teacher, field)


def both(count: Counts, what: str = "layers") -> tuple[int, int] | None:
    """(student's, teacher's) number of layers or heads where both are known; otherwise None."""
    student, teacher = (count(role, what) for role in ("student", "teacher"))
    return None if student is None or teacher is None else (student, teacher)


def stated(params: Params, role: str, what: str = "layers") -> int | None:
    """A model's number of layers or heads where the parameters say it; None where only a checkpoint of the hub has it.

    Args:
        role: `teacher`, or `student` as distillation starts from it.
        what: a key of FIELDS.
    """
    if role == "student" and is_copied(params):
        if what != "layers":
            if configured(params.teacher.model).get("model_type") in FEWER_HEADS:
                given = params.student.model.config.get("num_attention_heads")
                return given or stated(params, "teacher", what)
            return stated(params, "teacher", what)  # copied with the layers
        section = params.student
        if isinstance(section.layers, list):
            return len(section.layers)
        if section.num_layers is not None:
            return section.num_layers
    return stated_by(getattr(params, role).model, what)


def is_copied(params: Params) -> bool:
    """Whether distillation starts from a student made of the teacher's layers, or of the shape of one."""
    init = params.distill.init
    # A random student has the shape of the fine-tuned one.
    return (params.student.init if init in ("finetuned", "random") else init) == "teacher_layers"


def stated_by(model: Model, what: str = "layers") -> int | None:
    """What a section `model` or its local checkpoint states; None for one of the hub."""
    known = configured(model)
    number = next((known[name] for name in FIELDS[what] if name in known), None)
    # A checkpoint may say anything; `models.loading` refuses what is no number.
    return number if is_size(number) and number <= MOST_LAYERS else None


def configured(model: Model) -> dict[str, Any]:
    """The fields of a section `model`, on top of those of its local checkpoint."""
    if model.path is not None:
        with contextlib.suppress(OSError, ValueError, TypeError):
            return json_text.parse((Path(model.path) / "config.json").read_text(encoding="utf-8")) | model.config
    return dict(model.config)
