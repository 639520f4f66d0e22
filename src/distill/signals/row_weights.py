"""How much the soft targets of each training row count: from the cache of the teacher's outputs into batches."""

from __future__ import annotations

from typing import Any

import datasets

from distill.losses.terms import TEACHER_WEIGHT
from distill.signals.cache import WEIGHT, Cache


def beside(features: Any, outputs: Cache) -> Any:
    """The features with the weights of their soft targets as a float32 column `losses.terms.TEACHER_WEIGHT`.

    Args:
        features: rows that the cache's outputs are of, in its order (`datasets.Dataset`).
        outputs: cache of the teacher's outputs.

    Returns:
        `features` itself where the cache has no weights: every row counts the same.

    Raises:
        ValueError: the cache is of another number of rows.
    """
    if WEIGHT not in outputs.arrays:
        return features
    values = outputs.column(WEIGHT)[:, 0]
    if len(values) != len(features):
        raise ValueError(f"{len(values)} weights for {len(features)} features")
    return features.add_column(TEACHER_WEIGHT, values, feature=datasets.Value("float32"))
