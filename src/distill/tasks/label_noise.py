"""Training labels made wrong on purpose, for a defective teacher (Yuan et al. 2020, arXiv 1909.11723)."""

from __future__ import annotations

from typing import Any

from distill.tasks.base import Task


def noised(features: Any, task: Task, share: float, seed: int) -> Any:
    """The features with `share` of the rows' labels replaced at random (see `Task.noisy`).

    Args:
        features: the features of a split (`datasets.Dataset`); they are not changed, and nothing is written to disk.
        share: share of the rows, from 0 to 1.
        seed: another seed replaces other rows; the same seed always the same rows.

    Returns:
        A `datasets.Dataset` with the same rows and columns, in the same order.
    """
    order = features.column_names
    for column, values in task.noisy(features, share, seed).items():
        kind = features.features[column]
        features = features.remove_columns(column).add_column(column, values, feature=kind)
    return features.select_columns(order)
