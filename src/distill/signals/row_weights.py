"""How much the soft targets of each training row count: from the cache of the teacher's outputs into batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from distill.errors import UserError
from distill.losses.terms import TEACHER_WEIGHT
from distill.signals.cache import SPREAD, WEIGHT, Cache


def beside(outputs: Cache, spread_weight: float, features: Any) -> Any:
    """The features with the weights of their soft targets as a float32 column `losses.terms.TEACHER_WEIGHT`.

    A weight is that of the cache, times exp(−spread_weight · spread), where spread says how far the members of an
    ensemble are apart on the row (`distill.signals.ensemble`).

    Args:
        outputs: cache of the teacher's outputs.
        spread_weight: from 0 on; 0: the spread does not count.
        features: the first rows that the cache's outputs are of, or all of them, in its order (`datasets.Dataset`).

    Returns:
        `features` itself where every row counts the same.

    Raises:
        UserError: the spread counts, and the cache has none.
        ValueError: the cache is of fewer rows.
    """
    if WEIGHT not in outputs.arrays and not spread_weight:
        return features
    if spread_weight and SPREAD not in outputs.arrays:
        raise UserError(
            f"params.yaml: distill.spread_weight: {spread_weight:g}, but the cached outputs are of a single teacher:"
            " set it to 0"
        )
    if len(outputs.offsets) - 1 < len(features):
        raise ValueError(f"{len(outputs.offsets) - 1} rows of outputs for {len(features)} features")
    import datasets

    values = np.ones(len(features), np.float32)
    if WEIGHT in outputs.arrays:
        values *= outputs.column(WEIGHT)[: len(features), 0]
    if spread_weight:
        values *= np.exp(-spread_weight * outputs.column(SPREAD)[: len(features), 0])
    return features.add_column(TEACHER_WEIGHT, values, feature=datasets.Value("float32"))
