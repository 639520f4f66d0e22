"""Scores of predictions of several classes per row, 0–100; scikit-learn calculates them, imported where it is used."""

from __future__ import annotations

import numpy as np


def of_sets(said: np.ndarray, gold: np.ndarray) -> dict[str, float]:
    """The scores of what was said.

    Args:
        said, gold: bool, (rows, C): whether a class is said, and whether it is true; at least one row.

    Returns:
        micro_f1: F1 of all decisions together; macro_f1: mean over classes of F1, 0 for a class that is neither true
        nor said; example_f1: mean over rows of F1, `of_rows`; subset_accuracy: rows whose every class is right;
        hamming_loss: decisions that are wrong, lower is better. As in scikit-learn, times 100.
    """
    from sklearn.metrics import f1_score

    micro, macro = (100.0 * float(f1_score(gold, said, average=kind, zero_division=0.0)) for kind in ("micro", "macro"))
    return {
        "micro_f1": micro,
        "macro_f1": macro,
        "example_f1": float(of_rows(said, gold).mean()),
        "subset_accuracy": 100.0 * float((said == gold).all(1).mean()),
        "hamming_loss": 100.0 * float((said != gold).mean()),
    }


def of_rows(said: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """F1 of each row's classes, (rows,), 0–100; 100 where none is true and none is said."""
    below = said.sum(1) + gold.sum(1)
    return np.divide(200.0 * (said & gold).sum(1), below, out=np.full(len(said), 100.0), where=below > 0)


def average_precision(scores: np.ndarray, gold: np.ndarray) -> dict[str, float]:
    """How well the scores rank rows, without any threshold (`sklearn.metrics.average_precision_score`), times 100.

    Args:
        scores: float, (rows, C), higher where a class is likelier.
        gold: bool, (rows, C).

    Returns:
        micro_ap: of all decisions together, 0 where no row has a class; macro_ap: mean over the classes that a row has
        (of the others there is no average precision), 0 without any.
    """
    by_class = [value for value in average_precisions(scores, gold) if value is not None]
    return {
        "micro_ap": _precision(scores.ravel(), gold.ravel()) or 0.0,
        "macro_ap": float(np.mean(by_class)) if by_class else 0.0,
    }


def average_precisions(scores: np.ndarray, gold: np.ndarray) -> list[float | None]:
    """The average precision of each class, 0–100; None of a class that no row has. Arguments as above."""
    return [_precision(column, true) for column, true in zip(scores.T, gold.T, strict=True)]


def _precision(scores: np.ndarray, gold: np.ndarray) -> float | None:
    from sklearn.metrics import average_precision_score

    return 100.0 * float(average_precision_score(gold, scores)) if gold.any() else None
