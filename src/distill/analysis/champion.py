"""Which student is the best of those that are surely better than fine-tuning alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from distill.analysis import breakdown, significance


class Winner(NamedTuple):
    """A student: its method, the mean selection score of the method's seeds, and the best of them."""

    method: str
    seed: int
    score: float


def winner(
    table: Mapping[str, Mapping[str, Any]], runs: Mapping[str, Mapping[int | None, Mapping[str, float]]], metric: str
) -> Winner | None:
    """The method with the best mean selection score of those that are better than ft, and its best seed on that split.

    Args:
        table: metrics/summary.json: model → scores and `verdict`.
        runs: model → seed → scores.
        metric: the task's main one.
    """
    name = f"selection_{metric}"
    sure = [model for model, row in table.items() if row.get("verdict") == significance.BETTER]
    method = breakdown.best_method(table, sure, metric)
    if method is None:
        return None
    seeds = {seed: scores[name] for seed, scores in runs[method].items()}
    return Winner(method, max(seeds, key=seeds.__getitem__), table[method][name])
