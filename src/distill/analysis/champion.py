"""The best student among the methods with the verdict "better" than the baseline."""

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
    table: Mapping[str, Mapping[str, Any]],
    runs: Mapping[str, Mapping[int | None, Mapping[str, float]]],
    metric: str,
    baseline: str,
) -> Winner | None:
    """Of the methods better than the baseline, the one with the best mean selection score, and its best seed there.

    Args:
        table: metrics/summary.json: model → scores and `verdict`.
        runs: model → seed → scores.
        metric: main score of the task.
        baseline: name of the method that they are compared with.
    """
    name = f"selection_{metric}"
    better = [model for model, row in table.items() if row.get("verdict") == significance.BETTER]
    method = breakdown.best_method(table, better, metric, baseline)
    if method is None:
        return None
    seeds = {seed: scores[name] for seed, scores in runs[method].items()}
    return Winner(method, max(seeds, key=seeds.__getitem__), table[method][name])
