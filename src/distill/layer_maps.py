"""Which teacher layer each student layer learns from (layers count from 1; 0 would be the embeddings)."""

from __future__ import annotations

from distill.errors import UserError


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
