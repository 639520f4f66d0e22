"""How large a difference has to be for a comparison to find it: the smallest one that is found four times out of five.

The noise of a difference is the sum of two parts, as in `distill.analysis.significance`: a normal one of the examples
that all seeds share, whose size the bootstrap gives, and one of the seeds, whose size is estimated with few degrees of
freedom. The difference is found where it exceeds the critical value of the sum, and that value moves with the estimate.
So the power at a true difference is the mean, over the chi-square distribution of the estimate, of the normal
probability to exceed the critical value; the smallest difference is where it is 80%.

The variances are those of the comparison at hand. An estimate with few degrees of freedom is too low more often than
too high, so the one of the seeds is multiplied by degrees of freedom / median of chi-square. A verdict of Holm's needs
at worst the level (1 − confidence) / number of comparisons, which is the level taken here: where other methods are
found too, smaller differences are found as well. `benchmarks/power.py` and tests/analysis/test_power.py simulate it:
from three seeds on, a difference of the size that half of the comparisons report is found in 70 to 88% of them; two
seeds make it a guess.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: Probability to find a difference of the size that is reported.
POWER = 0.8
# Equally likely points of the estimate's distribution, and a grid of the normal one (in standard deviations).
_POINTS = (np.arange(20) + 0.5) / 20
_GRID = np.linspace(-5, 5, 51)
_WEIGHTS = np.exp(-(_GRID**2) / 2) / np.exp(-(_GRID**2) / 2).sum()
_HALVINGS = 20


class Noise(NamedTuple):
    """What makes a difference differ from the true one, in the unit of the score.

    Attributes:
        shared: standard deviation of the examples' part, as far as all seeds share it.
        seeds: standard deviation of the seeds' part.
        freedom: degrees of freedom of `seeds`, as `SeedNoise.planned` has them.
    """

    shared: float
    seeds: float
    freedom: float


def detectable(noise: Noise, level: float) -> float:
    """The smallest true difference that is found with probability `POWER`, in the unit of the score.

    Args:
        level: two-sided level of the verdict, corrected for the number of comparisons.
    """
    from scipy import special, stats

    shared, freedom = noise.shared, noise.freedom
    seeds = noise.seeds * float(np.sqrt(freedom / stats.chi2.median(freedom)))
    total = float(np.hypot(shared, seeds))
    if total == 0:
        return 0.0
    estimates = seeds * np.sqrt(stats.chi2.ppf(_POINTS, freedom) / freedom)
    critical = _critical(shared, estimates, freedom, level)

    def power(difference: np.ndarray) -> np.ndarray:
        return special.ndtr((difference - critical) / total).mean()

    low, high = 0.0, float(critical.max()) + 5 * total
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle) < POWER else (low, middle)
    return (low + high) / 2


def tail(values: np.ndarray, shared: np.ndarray | float, seeds: np.ndarray, freedom: np.ndarray | float) -> np.ndarray:
    """P(noise > value) of the sum of N(0, shared²) and `seeds` times Student's t with `freedom` degrees.

    Args:
        values, shared, seeds, freedom: arrays that broadcast; `seeds` > 0.
    """
    from scipy import special

    normal = np.asarray(shared)[..., None] * _GRID
    above = (np.asarray(values)[..., None] - normal) / np.asarray(seeds)[..., None]
    return special.stdtr(np.asarray(freedom)[..., None], -above) @ _WEIGHTS


def _critical(shared: float, seeds: np.ndarray, freedom: float, level: float) -> np.ndarray:
    """What a difference must exceed at estimates `seeds` of the standard deviation, (n,) → (n,)."""
    from scipy import stats

    if not seeds.any():
        return np.full(len(seeds), stats.norm.isf(level / 2) * shared)
    low = np.zeros(len(seeds))
    high = stats.norm.isf(level / 4) * shared + stats.t.isf(level / 4, freedom) * seeds
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = tail(middle, shared, seeds, freedom) > level / 2
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return (low + high) / 2
