"""Which class a model says, tuned on the selection split: a threshold for two classes, offsets for several.

A model that is trained on few rows of a class says it too rarely. Its probabilities may rank the rows well all the
same, so what is tuned is the decision, not the model: one number per class is added to the log-probabilities, and the
class with the largest sum is said. Nothing is tuned on the split that is reported.

- Two classes: a threshold on the probability of the rarer class, with the highest F1 of that class on the selection
  split. It is found exactly: between two neighbouring probabilities nothing changes.
- Several: offsets with a high mean over classes of F1 (macro), by coordinate ascent. Class after class, the rarest
  first, gets the best offset given the others, found exactly as above, and keeps its own unless another is better; this
  goes on until a whole round improves nothing, or for `ROUNDS`. The result is the best that any change of one offset
  can reach, not always the best of all.

Of equally good values the one nearest to the untuned decision (threshold 0.5, offset as it is) is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

#: With more classes nothing is tuned: so many offsets would fit the chance of the selection split.
MOST_CLASSES = 20
ROUNDS = 20
# Below these a gain in F1 (0 to 1), and a distance of log-probabilities, is rounding.
_GAIN, _APART = 1e-12, 1e-9


def class_rows(meta: Mapping[str, Any]) -> list[int]:
    """How many rows of each class there are in train, or without a label there, in the selection split.

    Args:
        meta: meta.json of the prepared data.
    """
    splits = meta["splits"]
    return splits["train"]["labels"] or splits["selection"]["labels"]


def rarest(rows: Sequence[int], gold: np.ndarray) -> int:
    """The class with the fewest training rows of those that `gold` has; of equally rare ones the one that comes first.

    Args:
        rows: number of training rows of each class; classes at the end without a row may be left out.
        gold: class numbers of the split that is scored, int, (n,), at least one.
    """
    return min(np.unique(gold).tolist(), key=lambda number: rows[number] if number < len(rows) else 0)


def tune(logits: np.ndarray, gold: np.ndarray, rows: Sequence[int]) -> np.ndarray:
    """The offset of each class, float64, (C,).

    Args:
        logits: of the selection split, float64, (n, C).
        gold: its class numbers, int, (n,).
        rows: number of training rows of each class.
    """
    classes = logits.shape[1]
    order = sorted(range(classes), key=lambda number: rows[number] if number < len(rows) else 0)
    offsets = np.zeros(classes)
    if classes == 2:
        offsets[order[0]], _ = _best(logits, gold, order[0], 0.0, np.arange(2) == order[0])
        return offsets
    every, best = np.ones(classes, bool), -1.0
    for _ in range(ROUNDS):
        before = best
        for number in order:
            shifted = logits + offsets
            shifted[:, number] = logits[:, number]
            offsets[number], best = _best(shifted, gold, number, offsets[number], every)
        if best - before < _GAIN:
            break
    return offsets


def decide(logits: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The classes that are said, int, (n,), for float64 logits (n, C)."""
    return (logits + offsets).argmax(1)


def threshold(offsets: np.ndarray, number: int) -> float:
    """Of two classes: the probability, 0 to 1, above which class `number` is said."""
    return float(1 / (1 + np.exp(offsets[number] - offsets[1 - number])))


def offsets_of(scores: Mapping[str, float], rows: Sequence[int], classes: int) -> list[float] | None:
    """The offsets that a model's scores in metrics/runs tell; None where nothing was tuned.

    Args:
        scores: scores with tuned_threshold (two classes) or tuned_offset_0, tuned_offset_1 …
        rows: number of training rows of each class.
    """
    if classes == 2 and "tuned_threshold" in scores:
        share, rare = scores["tuned_threshold"], rarest(rows, np.arange(2))
        return [float(np.log1p(-share) - np.log(share)) if number == rare else 0.0 for number in range(2)]
    names = [f"tuned_offset_{number}" for number in range(classes)]
    return [scores[name] for name in names] if names and all(name in scores for name in names) else None


def _best(
    logits: np.ndarray, gold: np.ndarray, number: int, present: float, counted: np.ndarray
) -> tuple[float, float]:
    """The best offset of a class, those of the others being in the logits already.

    Args:
        present: its offset, which stays unless another is better.
        counted: the classes whose mean F1 counts, bool, (C,).

    Returns:
        (offset, mean F1, 0 to 1)
    """
    rows, classes = logits.shape
    others = logits.copy()
    others[:, number] = -np.inf
    runner = others.argmax(1)  # said instead of it
    needed = others.max(1) - logits[:, number]  # it is said where its offset is above this
    order = np.argsort(needed, kind="stable")
    needed, runner, right = needed[order], runner[order], gold[order]
    # Row t of `change`: what row t's change from its runner-up to this class does to the counts of all classes.
    said, hits = (np.zeros((rows + 1, classes)) for _ in range(2))
    said[0], hits[0] = (np.bincount(runner[keep], minlength=classes) for keep in (slice(None), runner == right))
    steps = np.arange(1, rows + 1)
    said[steps, runner] -= 1
    said[1:, number] += 1
    hits[steps, runner] -= runner == right
    hits[1:, number] += right == number
    said, hits = said.cumsum(0)[:, counted], hits.cumsum(0)[:, counted]
    below = said + np.bincount(gold, minlength=classes)[counted]
    scores = np.divide(2 * hits, below, out=np.zeros_like(hits), where=below > 0).mean(1)
    edges = np.concatenate([[-np.inf], needed, [np.inf]])
    exists = edges[1:] - edges[:-1] > _APART  # equal rows change together
    low, high, scores = edges[:-1][exists], edges[1:][exists], scores[exists]
    inside = (low < present) & (present < high)
    values = np.where(np.isinf(low), high - 1, np.where(np.isinf(high), low + 1, (low + high) / 2))
    values = np.where(inside, present, values)
    good = scores >= scores.max() - _GAIN
    chosen = np.flatnonzero(good)[np.abs(values[good] - present).argmin()]
    return float(values[chosen]), float(scores[chosen])
