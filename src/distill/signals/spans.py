"""Start and end distributions over the characters of a context, as distributions over the tokens of a window.

Characters are what tokenizers have in common, and what people and other systems name answers by. A window
(`data.features.question_features`) is a part of a context: mass on characters outside of it goes to its cls token, as
the label of an answer outside does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Mass:
    """Probabilities on characters of a context.

    Attributes:
        characters: int, (n,): positions in code points, in any order; one may stand several times.
        mass: float64, (n,): the probability on each.
    """

    characters: np.ndarray
    mass: np.ndarray


def to_tokens(
    offset_start: np.ndarray, offset_end: np.ndarray, cls_index: int, start: Mass, end: Mass, elsewhere: float = 0.0
) -> np.ndarray:
    """A window's distributions: each character's mass on the token that covers it.

    Args:
        offset_start, offset_end: int, (L,): the characters that each token covers, from the first to before the last;
            −1 for tokens that are not of the context. Those of the context stand together, in order.
        cls_index: position of the cls token, which takes the mass on characters outside of the window.
        start: mass on the first character of answers. It goes to the first token that ends behind the character.
        end: mass on the character behind the last one of answers. It goes to the last token that begins before it.
        elsewhere: further mass for the cls token, on both sides: no answer.

    Returns:
        float64, (L, 2): start and end; each sums to its mass plus `elsewhere`.
    """
    found = np.zeros((len(offset_start), 2))
    context = np.flatnonzero(np.asarray(offset_start) >= 0)
    found[cls_index] += elsewhere
    if not len(context):
        found[cls_index] += start.mass.sum(), end.mass.sum()
        return found
    first, last = context[0], context[-1] + 1
    starts, ends = np.asarray(offset_start[first:last]), np.asarray(offset_end[first:last])
    places = (
        np.searchsorted(ends, start.characters, side="right"),
        np.searchsorted(starts, end.characters, side="left") - 1,
    )
    inside = _inside(starts, ends, start.characters, end.characters)
    for side, (mass, place, within) in enumerate(zip((start, end), places, inside, strict=True)):
        np.add.at(found[:, side], np.where(within, place + first, cls_index), mass.mass)
    return found


def inside_of(offset_start: np.ndarray, offset_end: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Which answers lie in a window as a whole: bool, (n,).

    Args:
        offset_start, offset_end: as for `to_tokens`.
        start, end: int, (n,): first character of each answer, and the one behind its last.
    """
    context = np.flatnonzero(np.asarray(offset_start) >= 0)
    if not len(context):
        return np.zeros(len(start), bool)
    part = slice(context[0], context[-1] + 1)
    return np.logical_and(*_inside(np.asarray(offset_start[part]), np.asarray(offset_end[part]), start, end))


def _inside(starts: np.ndarray, ends: np.ndarray, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which starts, and which ends, are of characters between the first and the last of the window's context."""
    return (start >= starts[0]) & (start < ends[-1]), (end > starts[0]) & (end <= ends[-1])
