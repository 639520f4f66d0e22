"""When a training ends before its last update: `patience` evaluations in a row without a better selection score.

transformers' EarlyStoppingCallback does not fit: it wants Trainer's own evaluation loop (`eval_strategy`, and
`metric_for_best_model`), and counts in an attribute. Here a stage scores the weights at steps of its own, and the count
is read off the log, which is a part of every checkpoint: a training that was killed ends where it would have ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def waited(history: Sequence[Mapping[str, Any]], metric: str) -> int:
    """The number of evaluations since the one with the best score; 0 where the last one is better than all before.

    Args:
        history: log entries in their order; evaluations have `selection_<metric>`.
        metric: the score that decides, higher is better; an equal score is no better one.
    """
    scores = [entry[f"selection_{metric}"] for entry in history if f"selection_{metric}" in entry]
    return len(scores) - 1 - scores.index(max(scores)) if scores else 0
