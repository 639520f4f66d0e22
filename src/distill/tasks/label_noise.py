"""Training labels that are wrong on purpose: what makes a teacher defective (Yuan et al. 2020, arXiv 1909.11723)."""

from __future__ import annotations

from typing import Any

from distill.tasks.base import Task


def noised(features: Any, task: Task, share: float, seed: int) -> Any:
    """The features with `share` of the rows' labels replaced at random (`task.noisy` says by what).

    Args:
        features: the features of a split (`datasets.Dataset`); they are not changed, and nothing is written to disk.
        share: from 0 to 1, of the rows.
        seed: another seed replaces other rows; the same one always the same.

    Returns:
        A `datasets.Dataset` with the same rows and columns, in the same order.
    """
    order = features.column_names
    for column, values in task.noisy(features, share, seed).items():
        kind = features.features[column]
        features = features.remove_columns(column).add_column(column, values, feature=kind)
    return features.select_columns(order)
