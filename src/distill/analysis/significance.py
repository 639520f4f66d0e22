"""Is a method better than another? The difference of a score with an interval over examples and seeds, and a verdict.

d[s] is the difference of two methods that were run with the same seed s and scored on the same examples. Two things
make it differ from the quantity of interest, the difference on all examples and over all seeds:

- The examples are a draw. A bootstrap resamples them, the same draw for both methods and all seeds (Efron and
  Tibshirani 1993, chapters 8 and 13); the score is computed anew from each resample.
- The seeds are a draw, of two to five. Resampling so few gives intervals that are too narrow, so their part is
  s_d / √S times a draw of Student's t with S − 1 degrees of freedom; s_d is the standard deviation of d over seeds.

s_d has the noise of examples in it that is each seed's own. So that it does not count twice, the bootstrap's part is
shrunk to what all seeds share, the covariance of the resampled d[s] between seeds. That is how Obuchowski and Rockette
(1995, Communications in Statistics 24(2)) and Hillis (2014, Statistics in Medicine 33(2)) divide the variance between
readers and cases, here seeds and examples. The sum of both draws is the Behrens–Fisher distribution (Fisher 1935): with
few seeds its intervals cover the truth as often as they say, or somewhat more often.

The teacher, the start of the students and the training data are fixed: the interval does not cover their variation.
Examples count as independent, also where several questions are about one text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from distill.analysis.bootstrap import Score, draws
from distill.config.comparison import Compare

BETTER, WORSE, CANNOT_TELL, ONE_SEED = "better", "worse", "cannot tell", "one seed"


@dataclass(frozen=True)
class Difference:
    """A method against another, in the unit of the score.

    Attributes:
        value: mean over seeds of the difference on the whole split.
        low, high: the interval at `Compare.confidence`; not corrected for the number of methods. With one seed it is
            over examples only.
        p: two-sided, of no difference; not corrected. None with one seed.
    """

    value: float
    low: float
    high: float
    p: float | None


def differences(
    score: Score, runs: Sequence[tuple[str, int]], baseline: str, settings: Compare
) -> dict[str, Difference]:
    """Every method against `baseline`.

    Args:
        score: score of the runs, in their order.
        runs: method and seed of each; all methods have the same seeds.

    Returns:
        method → difference, without the baseline itself.
    """
    whole = score(np.ones((score.examples, 1)))[:, 0]
    parts = [score(counts) for counts in draws(score.examples, settings.resamples, settings.seed)]
    resampled = np.concatenate(parts, axis=1)
    row_of = {run: k for k, run in enumerate(runs)}
    seeds = list(dict.fromkeys(seed for _, seed in runs))
    base_rows = [row_of[baseline, seed] for seed in seeds]
    by_method = {}
    for method in dict.fromkeys(name for name, _ in runs if name != baseline):
        rows = [row_of[method, seed] for seed in seeds]
        # Sums of the same numbers may differ in their last digits: runs that are the same differ by 0.
        parts = ((values[rows] - values[base_rows]).round(9) for values in (whole, resampled))
        by_method[method] = difference(*parts, settings)
    return by_method


def difference(whole: np.ndarray, resampled: np.ndarray, settings: Compare) -> Difference:
    """The interval and p of paired differences; see the head of this file.

    Args:
        whole: (S,) by seed, on the whole split.
        resampled: (S, R), on R resamples of the examples.
    """
    count, mean = len(whole), float(whole.mean())
    spread = resampled.mean(0)
    if count > 1:
        spread = mean + _shared(resampled) * (spread - mean) + _seeds_part(whole, len(spread), settings.seed)
    tail = (1 - settings.confidence) / 2
    low, high = np.quantile(spread, [tail, 1 - tail])
    # One is added for the sample itself, so that p is never 0 (Davison and Hinkley 1997, section 4.2.3).
    smaller = min((spread <= 0).sum(), (spread >= 0).sum())
    p = min(1.0, 2 * (1 + int(smaller)) / (1 + len(spread)))
    return Difference(mean, float(low), float(high), p if count > 1 else None)


def _shared(resampled: np.ndarray) -> float:
    """What all seeds share of the standard deviation of their mean difference over resamples: 0 to 1."""
    covariance = np.cov(resampled)
    count = len(covariance)
    total = covariance.sum() / count**2
    between = (covariance.sum() - np.trace(covariance)) / (count * (count - 1))
    return float(np.sqrt(max(0.0, between) / total)) if total > 0 else 0.0


def _seeds_part(whole: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """s_d / √S times draws of Student's t, (R,): its quantiles in random order, which is t without sampling error."""
    from scipy import stats

    count = len(whole)
    quantiles = stats.t.ppf((np.arange(resamples) + 0.5) / resamples, count - 1)
    order = np.random.default_rng([seed, 1]).permutation(resamples)
    return whole.std(ddof=1) / np.sqrt(count) * quantiles[order]


def verdicts(by_method: Mapping[str, Difference], confidence: float) -> dict[str, str]:
    """`better` or `worse` where the difference is significant, else `cannot tell`; `one seed` where p is None.

    Significant: p, corrected by Holm (1979) for the number of methods, is at most 1 − confidence. The chance of any
    false `better` or `worse` in a run is then 1 − confidence at most. A method whose interval leaves out 0 may
    therefore still get `cannot tell`.
    """
    tested = {name: item.p for name, item in by_method.items() if item.p is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    texts = {}
    for name, item in by_method.items():
        if item.p is None:
            texts[name] = ONE_SEED
        elif corrected[name] > 1 - confidence + 1e-12:
            texts[name] = CANNOT_TELL
        else:
            texts[name] = BETTER if item.value > 0 else WORSE
    return texts


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the k-th smallest of m values (k from 0) times m − k, made monotone, at most 1."""
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(np.asarray(p, float)[order] * factors))
    return corrected.tolist()


def gap_closed(value: float, baseline: float, teacher: float) -> float | None:
    """Percent of the way from the baseline to the teacher; None where the teacher is not above the baseline."""
    return 100 * (value - baseline) / (teacher - baseline) if teacher > baseline else None
