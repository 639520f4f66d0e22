"""Is a method better than another? The difference of a score with an interval over examples and seeds, and a verdict.

The difference is that of two means over seeds; the methods of a table have the same seeds, the baseline perhaps more.
All are scored on the same examples. Two things make it differ from the quantity of interest, the difference on all
examples and over all seeds:

- The examples are a draw. A bootstrap resamples them, the same draw for both methods and all seeds (Efron and
  Tibshirani 1993, chapters 8 and 13); the score is computed anew from each resample. Examples of one group (questions
  on one paragraph) are drawn together (Davison and Hinkley 1997, section 3.8).
- The seeds are a draw, of two to five. Resampling so few gives intervals that are too narrow, so their part is a
  standard error times a draw of Student's t. `distill.analysis.seed_noise` takes both, the error and its degrees of
  freedom, from all methods of the table together.

The variance over seeds has the noise of examples in it that is each seed's own. So that it does not count twice, the
bootstrap's part is shrunk to what all seeds share, the covariance of resampled scores between seeds. That is how
Obuchowski and Rockette (1995, Communications in Statistics 24(2)) and Hillis (2014, Statistics in Medicine 33(2))
divide the variance between readers and cases, here seeds and examples. The sum of both draws is the Behrens–Fisher
distribution (Fisher 1935): with few seeds its intervals cover the truth as often as they say, or somewhat more often.

The teacher, the start of the students and the training data are fixed: the interval does not cover their variation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from distill.analysis import power, seed_noise
from distill.analysis.bootstrap import Score, draws
from distill.analysis.power import Noise
from distill.analysis.seed_noise import SeedNoise
from distill.config.comparison import Compare

BETTER, WORSE, CANNOT_TELL, ONE_SEED = "better", "worse", "cannot tell", "one seed"


@dataclass(frozen=True)
class Difference:
    """A method against another, in the unit of the score.

    Attributes:
        value: difference of the means over seeds, on the whole split.
        low, high: the interval at `Compare.confidence`; not corrected for the number of methods. With one seed it is
            over examples only.
        p: two-sided, of no difference; not corrected. None with one seed.
        noise: what the interval is made of. None with one seed.
    """

    value: float
    low: float
    high: float
    p: float | None
    noise: Noise | None = None


def differences(
    score: Score,
    runs: Sequence[tuple[str, int]],
    baseline: str,
    settings: Compare,
    groups: np.ndarray | None = None,
) -> dict[str, Difference]:
    """Every method against `baseline`.

    Args:
        score: score of the runs, in their order.
        runs: method and seed of each; all methods have the same seeds, the baseline these and perhaps further ones.
        groups: number or name of each example's group, (n,); None: every example stands for itself.

    Returns:
        method → difference, without the baseline itself.
    """
    scored = Scored(score, runs, settings, groups)
    methods = [name for name in scored.seeds if name != baseline]
    noise = scored.noise(methods, baseline)
    return {method: scored.difference(method, baseline, noise) for method in methods}


class Scored:
    """The scores of runs on the whole split and on resamples of it, from which differences are taken.

    Attributes:
        seeds: method → its seeds, in the order of the runs.
    """

    def __init__(
        self, score: Score, runs: Sequence[tuple[str, int]], settings: Compare, groups: np.ndarray | None = None
    ):
        self._settings, self._row = settings, {run: row for row, run in enumerate(runs)}
        self._whole = score(np.ones((score.examples, 1)))[:, 0]
        parts = [score(counts) for counts in draws(score.examples, settings.resamples, settings.seed, groups)]
        self._resampled = np.concatenate(parts, axis=1)
        self.seeds: dict[str, list[int]] = {}
        for name, seed in runs:
            self.seeds.setdefault(name, []).append(seed)

    def noise(self, methods: Sequence[str], baseline: str) -> SeedNoise | None:
        """The seeds' part of the differences between `methods` and `baseline`, from all of them; None with one seed."""
        seeds = self.seeds[methods[0]] if methods else []
        if len(seeds) < 2:
            return None
        rows = np.array([self._rows(name, seeds) for name in methods])
        return seed_noise.pooled(self._whole[rows], self._whole[self._baseline_rows(baseline, seeds)])

    def difference(self, method: str, baseline: str, noise: SeedNoise | None) -> Difference:
        """One method against another; `noise` is the seeds' part, from the method of that name."""
        rows = self._rows(method, self.seeds[method])
        base_rows = self._baseline_rows(baseline, self.seeds[method])
        # Sums of the same numbers may differ in their last digits: runs that are the same differ by 0.
        value, resampled = (
            (scores[rows].mean(0) - scores[base_rows].mean(0)).round(9) for scores in (self._whole, self._resampled)
        )
        if noise is None:
            return _summed(float(value), resampled, None, self._settings)
        shared = self._shared(rows, base_rows) if resampled.any() else 0.0
        total = resampled.std(ddof=1)
        deviations = (resampled - value) * (shared / total if total > 0 else 0.0)
        error = float(np.sqrt(noise.variance))
        parts = Noise(shared, error, float(noise.planned))
        return _summed(float(value), value + deviations + error * self._student(noise), parts, self._settings)

    def _rows(self, method: str, seeds: Sequence[int]) -> list[int]:
        return [self._row[method, seed] for seed in seeds]

    def _baseline_rows(self, baseline: str, seeds: Sequence[int]) -> list[int]:
        """Rows of the baseline, those of `seeds` first."""
        return self._rows(baseline, [*seeds, *(seed for seed in self.seeds[baseline] if seed not in seeds)])

    @cached_property
    def _covariance(self) -> np.ndarray:
        """Of the runs' scores over resamples, (runs, runs)."""
        return np.cov(self._resampled)

    def _shared(self, rows: list[int], base_rows: list[int]) -> float:
        """Standard deviation of the difference over resamples, as far as all seeds share it.

        Means of covariances between different seeds: of the method, of the baseline, and between them.
        """
        within = _between_seeds(self._covariance[np.ix_(rows, rows)])
        base = _between_seeds(self._covariance[np.ix_(base_rows, base_rows)])
        across = _between_seeds(self._covariance[np.ix_(rows, base_rows)])
        return float(np.sqrt(max(0.0, within + base - 2 * across)))

    def _student(self, noise: SeedNoise) -> np.ndarray:
        """Draws of Student's t, (R,): its quantiles in random order, which is t without sampling error."""
        from scipy import stats

        count = self._resampled.shape[1]
        quantiles = stats.t.ppf((np.arange(count) + 0.5) / count, noise.freedom)
        return quantiles[np.random.default_rng([self._settings.seed, 1]).permutation(count)]


def _summed(value: float, spread: np.ndarray, noise: Noise | None, settings: Compare) -> Difference:
    """Interval and p from draws of the difference, (R,)."""
    tail = (1 - settings.confidence) / 2
    low, high = np.quantile(spread, [tail, 1 - tail])
    # One is added for the sample itself, so that p is never 0 (Davison and Hinkley 1997, section 4.2.3).
    smaller = min((spread <= 0).sum(), (spread >= 0).sum())
    p = min(1.0, 2 * (1 + int(smaller)) / (1 + len(spread)))
    return Difference(value, float(low), float(high), None if noise is None else p, noise)


def _between_seeds(covariance: np.ndarray) -> float:
    """Mean of the entries (S, K) whose seeds differ: all but the main diagonal."""
    same = np.trace(covariance)
    return float((covariance.sum() - same) / (covariance.size - min(covariance.shape)))


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


def detectable(by_method: Mapping[str, Difference], confidence: float) -> dict[str, float | None]:
    """The smallest true difference that each comparison finds with probability `power.POWER`; None where p is None.

    Taken at Holm's first level, (1 − confidence) / number of comparisons.
    """
    tested = [item for item in by_method.values() if item.noise is not None]
    level = (1 - confidence) / max(1, len(tested))
    return {
        name: None if item.noise is None else power.detectable(item.noise, level) for name, item in by_method.items()
    }


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
