"""Which teacher layers, several at a time, each student layer learns from (layers count from 1).

The named groups are those of Combinatorial KD (Wu et al. 2020), which gives them for 6 teacher and 2 student layers.
The rules below are for N and K layers and give the paper's groups for 6 and 2:

- `regular`: K blocks of neighbouring layers; block k ends with layer k·N/K, rounded up. [1, 2, 3] [4, 5, 6]
- `overlap`: the regular blocks, each with one more layer of every neighbouring block. [1, 2, 3, 4] [3, 4, 5, 6]
- `skip_middle`: the regular blocks of the first and last third of the layers (N/3 rounded to the nearest); the layers
  between them are left out. [1, 2] [5, 6]
- `cross`: first and last layer of every regular block. [1, 3] [4, 6]
- `reversed`: the regular blocks in descending order, as a control: the first student layer gets the last. [4, 5, 6]
  [1, 2, 3]; not the paper's.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from distill.config.schema import Count
from distill.errors import UserError

Lists = list[Annotated[list[Count], Field(min_length=1)]]
# The tags choose one alternative, so that an error speaks of that one only.
LayerGroups = Annotated[
    Annotated[Literal["regular", "overlap", "skip_middle", "cross", "reversed"], Tag("<name>")]
    | Annotated[Lists, Tag("<list>")],
    Discriminator(lambda value: "<list>" if isinstance(value, list) else "<name>"),
]


def resolve(groups: str | list[list[int]], student: int, teacher: int, field: str) -> list[list[int]]:
    """Teacher layers for each of the student layers 1…`student`, ascending within a named group.

    Args:
        groups: `regular`, `overlap`, `skip_middle`, `cross`, `reversed`, or a list of teacher layers for each student
            layer.
        student: number of student layers K.
        teacher: number of teacher layers N.
        field: the parameter's name, for error messages.

    Raises:
        UserError: the named groups do not exist for K and N, or a list has the wrong length or a layer that the teacher
            does not have.
    """
    if isinstance(groups, list):
        return _listed(groups, student, teacher, field)
    where = f"params.yaml: {field}: {groups!r}"
    if groups == "skip_middle":
        if teacher < 3:
            raise UserError(f"{where} needs a teacher of three layers or more, it has {teacher}: use 'regular'")
        third = (2 * teacher + 3) // 6  # N/3 to the nearest
        outer = [*range(1, third + 1), *range(teacher - third + 1, teacher + 1)]
        if len(outer) < student:
            raise UserError(
                f"{where} keeps {len(outer)} of the teacher's {teacher} layers ({outer}), fewer than the student's"
                f" {student}: use 'regular'"
            )
        return _blocks(outer, student)
    if student > teacher:
        raise UserError(
            f"{where} needs a teacher layer for each student layer: the student has {student}, the teacher {teacher}:"
            " give a list of lists"
        )
    blocks = _blocks(list(range(1, teacher + 1)), student)
    if groups == "overlap":
        if student == 1:
            raise UserError(f"{where} needs two student layers or more, the student has 1: use 'regular'")
        return [list(range(max(block[0] - 1, 1), min(block[-1] + 1, teacher) + 1)) for block in blocks]
    if groups == "cross":
        if teacher < 3 * student:
            raise UserError(
                f"{where} skips the inside of blocks of three layers or more: {student} student layers need"
                f" {3 * student} teacher layers, there are {teacher}: use 'regular', or give a list of lists"
            )
        return [[block[0], block[-1]] for block in blocks]
    return blocks[::-1] if groups == "reversed" else blocks


def _blocks(layers: list[int], count: int) -> list[list[int]]:
    ends = [-(-k * len(layers) // count) for k in range(count + 1)]
    return [layers[start:end] for start, end in zip(ends, ends[1:], strict=False)]


def _listed(groups: list[list[int]], student: int, teacher: int, field: str) -> list[list[int]]:
    if len(groups) != student:
        raise UserError(
            f"params.yaml: {field}: {groups}: {len(groups)} lists for {student} student layers: give one for each"
        )
    for group in groups:
        if wrong := [layer for layer in group if not 1 <= layer <= teacher]:
            raise UserError(
                f"params.yaml: {field}: {group}: layer {wrong[0]} is not among the teacher's 1…{teacher}: correct it"
            )
        if len(set(group)) < len(group):
            raise UserError(f"params.yaml: {field}: {group} names a layer twice: name each layer of a list once")
    return [list(group) for group in groups]
