"""From which probability on a model says a class, tuned on the selection split, where rows have several classes.

The threshold of a class is the one with its highest F1 there, found exactly: between two neighbouring probabilities
nothing changes. Of equally good ones the nearest to 0.5 is taken, in log-odds. A class that no row of the selection
split has keeps 0.5. With more than `MOST` classes one threshold holds for all, that of the highest micro F1: so many
would fit the chance of the selection split.

Thresholds are kept as probabilities, and decisions compare log-odds with theirs; log-odds beyond ±36, where a
probability has no digits left, are all alike.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from distill.tasks import decision

#: Most classes with a threshold of their own.
MOST = 100
_FARTHEST = 36.0


def tune(logits: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """The threshold of each class, float64, (C,), above 0 and below 1.

    Args:
        logits: of the selection split, float64, (n, C).
        gold: bool, (n, C).
    """
    classes = logits.shape[1]
    if classes > MOST:
        return np.full(classes, _threshold(logits.ravel(), gold.ravel()))
    return np.array([_threshold(column, true) for column, true in zip(logits.T, gold.T, strict=True)])


def _threshold(logits: np.ndarray, gold: np.ndarray) -> float:
    if not gold.any():
        return 0.5
    # A choice between two classes, of which the second, the "rarer", has a logit and the other 0.
    pairs = np.stack([np.zeros(len(logits)), logits.clip(-_FARTHEST, _FARTHEST)], 1)
    return decision.threshold(decision.tune(pairs, gold.astype(int), [1, 0]), 1)


def decide(logits: np.ndarray, thresholds: np.ndarray | None = None) -> np.ndarray:
    """The classes that are said, bool, (n, C), for float64 logits (n, C).

    Args:
        thresholds: probabilities, (C,); None: 0.5.
    """
    if thresholds is None:
        return logits > 0
    return logits.clip(-_FARTHEST, _FARTHEST) > np.log(thresholds) - np.log1p(-np.asarray(thresholds))


def named(thresholds: np.ndarray) -> dict[str, float]:
    """The thresholds by name: tuned_threshold_0, tuned_threshold_1 …; tuned_threshold where one holds for all."""
    if len(thresholds) > MOST:
        return {"tuned_threshold": float(thresholds[0])}
    return {f"tuned_threshold_{number}": float(value) for number, value in enumerate(thresholds)}


def of_scores(scores: Mapping[str, float], classes: int) -> list[float] | None:
    """The thresholds that a model's scores in metrics/runs tell (`named`); None where nothing was tuned."""
    if classes > MOST and "tuned_threshold" in scores:
        return [scores["tuned_threshold"]] * classes
    names = [f"tuned_threshold_{number}" for number in range(classes)]
    return [scores[name] for name in names] if names and all(name in scores for name in names) else None
