"""How far the score of a single model can be trusted: intervals over the examples that it was scored on.

Of a whole split: the percentile bootstrap over examples, of the mean over the seeds that were run. Of a group of
examples: Wilson's score interval (1927) for a mean of values between 0 and 100, which is made for shares of right
answers, too wide for values in between, and does not shrink to nothing where all values are alike. Neither
covers other seeds. Whether two models differ is another question, which paired intervals answer
(`distill.analysis.significance`): they are narrower than two of these side by side suggest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np
import pandas as pd

from distill.analysis.bootstrap import draws, score_of
from distill.config.comparison import Compare

#: Resamples are enough for two digits of an interval.
_MOST = 1000


def of(
    tables: Mapping[str, Mapping[int | None, pd.DataFrame]],
    metric: str,
    classes: Sequence[str],
    settings: Compare,
    groups: np.ndarray | None = None,
) -> dict[str, list[float]]:
    """Interval of each model's score, mean over its seeds.

    Args:
        tables: tables of examples by model and seed, with the same rows.
        metric: the score, as in metrics/runs.
        classes: names of the classes in order, where the task has classes.
        groups: group of each example, (n,), which are resampled together.

    Returns:
        model → [low, high], in the unit of the score.
    """
    owners = [name for name, seeds in tables.items() for _ in seeds]
    score = score_of(metric, [table for seeds in tables.values() for table in seeds.values()], classes)
    parts = [score(counts) for counts in draws(score.examples, min(settings.resamples, _MOST), settings.seed, groups)]
    drawn = np.concatenate(parts, axis=1)
    tail = (1 - settings.confidence) / 2
    mine = {name: [k for k, owner in enumerate(owners) if owner == name] for name in tables}
    return {name: np.quantile(drawn[rows].mean(0), [tail, 1 - tail]).tolist() for name, rows in mine.items()}


def wilson(mean: float, examples: int, confidence: float) -> list[float]:
    """Interval [low, high] of a mean of `examples` values between 0 and 100.

    With p = mean / 100 and the normal quantile z: (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n).
    """
    z, p = NormalDist().inv_cdf((1 + confidence) / 2), mean / 100
    centre, spread = p + z**2 / (2 * examples), z * (p * (1 - p) / examples + (z / (2 * examples)) ** 2) ** 0.5
    return [100 * max(0.0, (centre + sign * spread) / (1 + z**2 / examples)) for sign in (-1, 1)]
