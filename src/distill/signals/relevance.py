"""Scores of several teachers for the passages of queries, brought to one level and one scale before their mean.

Two models that rank alike may score on levels and scales of their own: one from −10 to 10, a file from 0 to 30. So each
member's scores become z-scores within a query, whose mean over the members is multiplied by the mean of the members'
standard deviations: the result is spread as the members are, and none of them counts more for its scale.
"""

from __future__ import annotations

import numpy as np


def leveled(scores: np.ndarray, weights: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """The members' scores with mean 0 and the same standard deviation within each group: float64, (members, rows, 1).

    Args:
        scores: (members, rows, 1).
        weights: of each member on each row, (members, rows), the same within a group; not all 0.
        bounds: int64, (groups + 1,), where each group's rows begin.

    Returns:
        0 where a member gives all passages of a group the same score. The standard deviation is the weighted mean over
        members of theirs (over all passages, not one less).
    """
    values, sizes = scores[..., 0].astype(np.float64), np.diff(bounds)
    centred = values - np.repeat(_mean(values, bounds), sizes, axis=1)
    deviation = np.sqrt(_mean(np.square(centred), bounds))
    shares = weights[:, bounds[:-1]] / weights[:, bounds[:-1]].sum(0)
    scale = (shares * deviation).sum(0) / np.where(deviation > 0, deviation, np.inf)
    return (centred * np.repeat(scale, sizes, axis=1))[..., None]


def of_groups(values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Values of rows (rows,) in place of which each row gets the mean of its group's."""
    return np.repeat(_mean(values, bounds), np.diff(bounds), axis=-1)


def _mean(values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """(…, rows) → (…, groups)."""
    return np.add.reduceat(values, bounds[:-1], axis=-1) / np.diff(bounds)
