"""Training labels made wrong on purpose: a defective teacher (Yuan et al. 2020, arXiv 1909.11723), noisy data."""

from __future__ import annotations

from typing import Any

import numpy as np

from distill.tasks.base import Task


def noised(features: Any, task: Task, share: float, seed: int, originals: int | None = None) -> Any:
    """The features with `share` of the rows' labels replaced at random (see `Task.noisy`).

    Args:
        features: the features of a split (`datasets.Dataset`); they are not changed, and nothing is written to disk.
        share: share of the rows, from 0 to 1.
        seed: another seed replaces other rows; the same seed always the same rows.
        originals: number of rows in front that are no copies of others; as many copies of each follow, those of a row
            one after another (`distill.augmentation.word_replacement`). A copy has its original's label. None: all.

    Returns:
        A `datasets.Dataset` with the same rows and columns, in the same order.
    """
    order = features.column_names
    rows = features if originals is None else features.select(range(originals))
    for column, values in task.noisy(rows, share, seed).items():
        copies, kind = len(features) // len(rows) - 1, features.features[column]
        if len(values) == len(rows):
            values = np.concatenate([values, np.repeat(values, copies, axis=0)])
            values = values if values.ndim == 1 else list(values)
        else:  # one for each token
            parts = np.split(values, np.cumsum(rows.data.column("length").to_numpy())[:-1])
            values = [*parts, *(part for part in parts for _ in range(copies))]
        features = features.remove_columns(column).add_column(column, values, feature=kind)
    return features.select_columns(order)
