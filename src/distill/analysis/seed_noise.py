"""How much a difference of methods moves with the seeds: a variance pooled over methods, and its degrees of freedom.

With S seeds a single method's variance of the difference has S − 1 degrees of freedom, that is two to four, and an
interval from it is wide. All methods are compared with the same baseline on the same seeds, so the mean of their
variances estimates the same quantity better. The variances depend on one another through the baseline: for normal
differences with correlation ρ between methods their correlation is ρ², so that the mean over m methods has, by
Satterthwaite's (1946) moments,

    (S − 1) / (1/m + (1 − 1/m) ρ²)

degrees of freedom. ρ is estimated: mean covariance / mean variance of the differences, clipped to 0…1. One method
alone keeps S − 1. A baseline that is more restless than the methods is in every difference, and so in the pooled
variance; pooling over all runs as Hillis (2014) does would hide it. One method that is more restless than all others is
what pooling does not see: docs/reports.md says what that costs.

Further seeds of the baseline: with S seeds of the methods among the K of the baseline, the difference of the means is

    mean_S(x) − mean_K(b)  =  mean_S(x − λ b)  −  (1 − λ) mean_E(b),     λ = S/K, E the K − S further seeds.

Both parts are independent. Their variances add up: that of x − λ b, pooled as above, over S; and s_b² (K − S) / K²,
where s_b² is the baseline's variance over all K seeds, with K − 1 degrees. The degrees of freedom of the sum are
Satterthwaite's, as if both estimates were independent. With K = S this is the paired form.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: ρ where the baseline moves as much as the methods do: what is planned with at least.
ALIKE = 0.5


class SeedNoise(NamedTuple):
    """Part of the seeds in a difference of means, in the squared unit of the score.

    All are floats, or arrays of the leading shape of what was estimated from.

    Attributes:
        variance: its variance.
        freedom: degrees of freedom of that estimate.
        planned: the same with ρ at least `ALIKE`, for `distill.analysis.power`: two to four degrees of freedom say
            little about ρ, and one that is too low by chance would promise too much.
    """

    variance: np.ndarray
    freedom: np.ndarray
    planned: np.ndarray


def pooled(methods: np.ndarray, baseline: np.ndarray) -> SeedNoise:
    """The variance over seeds of mean(method) − mean(baseline), the same for all methods; see the head of this file.

    Args:
        methods: (…, m, S), scores of m methods with S ≥ 2 seeds each.
        baseline: (…, K), scores of the baseline with K ≥ S seeds, the methods' S first and in their order.
    """
    count, seeds = methods.shape[-2:]
    total = baseline.shape[-1]
    # Sums of the same numbers may differ in their last digits: runs that are the same differ by 0.
    parts = (methods - seeds / total * baseline[..., None, :seeds]).round(9)
    centred = parts - parts.mean(-1, keepdims=True)
    variance = (centred**2).sum((-2, -1)) / (seeds - 1) / count
    correlation = _correlation(centred, variance)
    further = baseline.var(-1, ddof=1) * (total - seeds) / total**2

    def freedom(correlation: np.ndarray) -> np.ndarray:
        paired = (seeds - 1) / (1 / count + (1 - 1 / count) * correlation**2)
        squares = (variance / seeds) ** 2 / paired + further**2 / (total - 1)
        # Where nothing moves at all, any number of degrees will do.
        return np.divide((variance / seeds + further) ** 2, squares, out=np.array(paired), where=squares > 0)

    return SeedNoise(variance / seeds + further, freedom(correlation), freedom(correlation.clip(ALIKE)))


def _correlation(centred: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Mean covariance / mean variance of m methods, (…, m, S) without their means; 0 to 1."""
    count, seeds = centred.shape[-2:]
    if count == 1:
        return np.ones_like(variance)
    together = (centred.sum(-2) ** 2).sum(-1) / (seeds - 1)  # the sum of all entries of the covariance matrix
    covariance = (together - count * variance) / (count * (count - 1))
    return np.divide(covariance, variance, out=np.ones_like(variance), where=variance > 0).clip(0, 1)
