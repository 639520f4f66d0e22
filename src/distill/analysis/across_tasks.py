"""A difference of two methods, as its mean over tasks: the primary question of a study.

On each task the difference has two parts of noise, as `distill.analysis.significance` takes them: one of the examples
that all seeds share, normal with a standard error from the bootstrap, and one of the seeds, Student's t with a standard
error that is pooled over the methods of the task. Tasks have examples and runs of their own, so both parts are
independent between tasks, and their variances add up. The seeds' parts of T tasks have

    (Σ s_t²)² / Σ (s_t⁴ / f_t)

degrees of freedom (Satterthwaite 1946). Tasks count alike, and they are not a draw: the interval is about the mean over
these tasks, and says nothing about others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from distill.analysis import power


class TaskDifference(NamedTuple):
    """The difference on one task, in points of its score.

    Attributes:
        value: the difference of the means over seeds.
        shared: standard error over the examples.
        seeds: standard error over the seeds.
        freedom: degrees of freedom of `seeds`.
    """

    value: float
    shared: float
    seeds: float
    freedom: float


class Mean(NamedTuple):
    """The mean over tasks.

    Attributes:
        value: the mean difference, in points.
        low, high: its interval.
        p: two-sided, of no difference; not corrected.
    """

    value: float
    low: float
    high: float
    p: float


def mean(tasks: Sequence[TaskDifference], confidence: float) -> Mean:
    """The mean of the differences, each task counting alike.

    Args:
        tasks: at least one.
        confidence: of the interval, e.g. 0.95.
    """
    from scipy import optimize, stats

    count = len(tasks)
    value = sum(task.value for task in tasks) / count
    variances = np.array([task.seeds**2 for task in tasks])
    shared = float(np.sqrt(sum(task.shared**2 for task in tasks))) / count
    seeds = float(np.sqrt(variances.sum())) / count
    if seeds == 0:  # all seeds have the same scores: the examples' part is all there is
        half = float(stats.norm.isf((1 - confidence) / 2)) * shared
        p = float(2 * stats.norm.sf(abs(value) / shared)) if shared else float(value == 0)
        return Mean(value, value - half, value + half, p)
    freedom = float(variances.sum() ** 2 / sum(variances**2 / [task.freedom for task in tasks]))

    def above(size: float) -> float:
        return float(power.tail(np.array(size), shared, np.array(seeds), freedom))

    level = (1 - confidence) / 2
    far = 2 * (shared + seeds)
    while above(far) > level:
        far *= 2
    half = optimize.brentq(lambda size: above(size) - level, 0.0, far)
    return Mean(value, value - half, value + half, min(1.0, 2 * above(abs(value))))
