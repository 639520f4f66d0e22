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
from itertools import combinations

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


@dataclass(frozen=True)
class Comparison:
    """All methods of a table against one of them; each by method, without the baseline.

    Attributes:
        baseline: its name.
        differences, verdicts, detectable: results of the functions of these names.
        gaps: intervals of the percent of the gap to the teacher that is closed; None where the gap may be 0.
    """

    baseline: str
    differences: Mapping[str, Difference]
    verdicts: Mapping[str, str]
    detectable: Mapping[str, float | None]
    gaps: Mapping[str, tuple[float, float] | None]


def compare(scored: Scored, methods: Sequence[str], baseline: str, teacher: str | None = None) -> Comparison:
    """Compare methods with a baseline.

    Args:
        methods: names of methods; the baseline among them does not count. The seeds that each shares with the baseline
            are the same for all, and no others of theirs count.
        baseline: method with these seeds and perhaps further ones, which do.
        teacher: name of the model that the gap reaches to, run once; None: there are no gaps.
    """
    rivals = [name for name in methods if name != baseline]
    noise = scored.noise(rivals, baseline)
    found = {name: scored.difference(name, baseline, noise) for name in rivals}
    confidence = scored.settings.confidence
    gaps = {} if teacher is None else {name: scored.gap(name, baseline, teacher, noise) for name in rivals}
    return Comparison(baseline, found, verdicts(found, confidence), detectable(found, confidence), gaps)


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
    return dict(compare(scored, list(scored.seeds), baseline).differences)


def pairs(scored: Scored, methods: Sequence[str]) -> dict[tuple[str, str], Difference]:
    """Every method against every other, all with the same seeds: (method, other) → difference.

    Of a pair, each may be the baseline of a table of all others. The larger of the seeds' variances of both tables
    counts, so that neither's restlessness is lost among methods that are calmer.
    """
    rivals = {name: [other for other in methods if other != name] for name in methods}
    noises = {name: scored.noise(rivals[name], name) for name in methods}
    found = {}
    for other, method in combinations(methods, 2):
        both = [noise for noise in (noises[method], noises[other]) if noise is not None]
        noise = max(both, key=lambda noise: float(noise.variance), default=None)
        found[method, other] = scored.difference(method, other, noise)
    return found


class Scored:
    """The scores of runs on the whole split and on resamples of it, from which differences are taken.

    Args:
        score: score of the runs, in their order.
        runs: model and seed of each; None: the seed of a model that is trained once.
        groups: group of each example, (n,); None: every example stands for itself.

    Attributes:
        settings: section `compare`.
        seeds: model → its seeds, in the order of the runs.
    """

    def __init__(
        self, score: Score, runs: Sequence[tuple[str, int | None]], settings: Compare, groups: np.ndarray | None = None
    ):
        self.settings, self._row = settings, {run: row for row, run in enumerate(runs)}
        self._whole = score(np.ones((score.examples, 1)))[:, 0]
        parts = [score(counts) for counts in draws(score.examples, settings.resamples, settings.seed, groups)]
        self._resampled = np.concatenate(parts, axis=1)
        self.seeds: dict[str, list[int | None]] = {}
        for name, seed in runs:
            self.seeds.setdefault(name, []).append(seed)

    def noise(self, methods: Sequence[str], baseline: str) -> SeedNoise | None:
        """The seeds' part of the differences between `methods` and `baseline`, from all of them; None with one seed."""
        seeds = self._common(methods[0], baseline) if methods else []
        if len(seeds) < 2:
            return None
        rows = np.array([self._rows(name, seeds) for name in methods])
        return seed_noise.pooled(self._whole[rows], self._whole[self._baseline_rows(baseline, seeds)])

    def difference(self, method: str, baseline: str, noise: SeedNoise | None) -> Difference:
        """One method against another; `noise` is the seeds' part, from the method of that name."""
        value, spread, parts = self._spread(method, baseline, noise)
        tail = (1 - self.settings.confidence) / 2
        low, high = np.quantile(spread, [tail, 1 - tail])
        # One is added for the sample itself, so that p is never 0 (Davison and Hinkley 1997, section 4.2.3).
        smaller = min((spread <= 0).sum(), (spread >= 0).sum())
        p = min(1.0, 2 * (1 + int(smaller)) / (1 + len(spread)))
        return Difference(value, float(low), float(high), None if parts is None else p, parts)

    def to_single(self, method: str, single: str) -> Difference:
        """A method's mean over its seeds against a model that is run once, such as the teacher.

        The seeds' part is the method's own, with one degree of freedom less than it has seeds; with one seed the
        interval is over examples only. There is no verdict on it, and no p.
        """
        rows, base_rows = self._rows(method, self.seeds[method]), self._rows(single, [None])
        value, spread = self._values(rows, base_rows)
        if (count := len(rows)) > 1:
            error = float(self._whole[rows].std(ddof=1) / np.sqrt(count))
            spread = value + self._kept(rows, base_rows, spread) * (spread - value) + error * self._student(count - 1)
        tail = (1 - self.settings.confidence) / 2
        low, high = np.quantile(spread, [tail, 1 - tail])
        return Difference(value, float(low), float(high), None)

    def gap(self, method: str, baseline: str, teacher: str, noise: SeedNoise | None) -> tuple[float, float] | None:
        """The interval of 100 (method − baseline) / (teacher − baseline); None where that of the gap has 0 in it.

        Both differences are drawn together: on the same resamples, and with the baseline's seeds in both. The teacher
        is one model, so the gap's seeds are the baseline's alone; the method's seeds are taken as independent of them.
        With one seed the interval is over examples only.
        """
        _, above, parts = self._spread(method, baseline, noise)
        rows, base_rows = [self._row[teacher, None]], self._baseline_rows(baseline, self._common(method, baseline))
        gap, resampled = self._values(rows, base_rows)
        below = resampled
        if parts is not None:
            count = len(base_rows)
            error = float(self._whole[base_rows].std(ddof=1) / np.sqrt(count))
            together = min(1.0, error / parts.seeds) if parts.seeds > 0 else 0.0
            # The first draw is the one of the difference itself.
            first, second = self._student(noise.freedom), self._student(count - 1, order=2)
            drawn = together * first + np.sqrt(1 - together**2) * second
            below = gap + self._kept(rows, base_rows, resampled) * (resampled - gap) + error * drawn
        tail = (1 - self.settings.confidence) / 2
        if np.quantile(below, tail) <= 0:
            return None
        # A resample without any gap, of few that the quantile above passes over, has an infinite share.
        shares = np.divide(100 * above, below, out=np.copysign(np.inf, above), where=below != 0)
        low, high = np.quantile(shares, [tail, 1 - tail])
        return float(low), float(high)

    def _spread(self, method: str, baseline: str, noise: SeedNoise | None) -> tuple[float, np.ndarray, Noise | None]:
        """A difference, draws of it (R,), and what they are made of."""
        seeds = self._common(method, baseline)
        rows, base_rows = self._rows(method, seeds), self._baseline_rows(baseline, seeds)
        value, resampled = self._values(rows, base_rows)
        if noise is None:
            return value, resampled, None
        error = float(np.sqrt(noise.variance))
        deviations = self._kept(rows, base_rows, resampled) * (resampled - value)
        parts = Noise(self._shared(rows, base_rows) if resampled.any() else 0.0, error, float(noise.planned))
        return value, value + deviations + error * self._student(noise.freedom), parts

    def _values(self, rows: list[int], base_rows: list[int]) -> tuple[float, np.ndarray]:
        """The difference of means on the whole split, and on the resamples (R,)."""
        # Sums of the same numbers may differ in their last digits: runs that are the same differ by 0.
        value, resampled = (
            (scores[rows].mean(0) - scores[base_rows].mean(0)).round(9) for scores in (self._whole, self._resampled)
        )
        return float(value), resampled

    def _kept(self, rows: list[int], base_rows: list[int], resampled: np.ndarray) -> float:
        """The part of the resamples' deviation that all seeds share: 0 to 1."""
        total = resampled.std(ddof=1)
        return self._shared(rows, base_rows) / total if total > 0 else 0.0

    def _common(self, method: str, baseline: str) -> list[int | None]:
        """The seeds that both have: further seeds count for a baseline alone."""
        return [seed for seed in self.seeds[method] if seed in self.seeds[baseline]]

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

    def _student(self, freedom: np.ndarray | float, order: int = 1) -> np.ndarray:
        """Draws of Student's t, (R,): its quantiles in random order, which is t without sampling error."""
        from scipy import stats

        count = self._resampled.shape[1]
        quantiles = stats.t.ppf((np.arange(count) + 0.5) / count, freedom)
        return quantiles[np.random.default_rng([self.settings.seed, order]).permutation(count)]


def _between_seeds(covariance: np.ndarray) -> float:
    """Mean of the entries (S, K) whose seeds differ: all but the main diagonal. A model without seeds has one row."""
    if len(covariance) == 1:
        return float(covariance.mean())
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
