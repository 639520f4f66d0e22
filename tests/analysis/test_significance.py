"""Intervals against scipy and closed forms, their coverage in simulated experiments, Holm, verdicts."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from distill.analysis import seed_noise
from distill.analysis.bootstrap import Mean
from distill.analysis.power import Noise
from distill.analysis.significance import Difference, detectable, differences, gap_closed, holm, verdicts
from distill.config.comparison import Compare

SETTINGS = Compare(baseline="ft", also=[], baseline_seeds=[], resamples=4000, confidence=0.95, seed=5)


def compared(first, second, settings=SETTINGS):
    """`second` against `first`: (S, n) scores of each."""
    seeds = range(len(first))
    score = Mean(np.concatenate([first, second]))
    runs = [("ft", seed) for seed in seeds] + [("kd", seed) for seed in seeds]
    return differences(score, runs, "ft", settings)["kd"]


@pytest.fixture
def scores():
    generator = np.random.default_rng(0)
    first = generator.normal(70, 20, (1, 300))
    return first, first + generator.normal(1, 15, (1, 300)).round(1)


def test_one_seed_is_scipys_paired_bootstrap_of_the_mean(scores):
    first, second = scores
    found = compared(first, second, SETTINGS.model_copy(update={"resamples": 40_000}))
    reference = stats.bootstrap(
        (first[0], second[0]),
        lambda a, b, axis: (b - a).mean(axis),
        paired=True,
        n_resamples=40_000,
        method="percentile",
        rng=np.random.default_rng(1),
    )
    width = reference.standard_error
    assert found.value == pytest.approx((second - first).mean())
    # Both have a sampling error of about 0.013 standard errors at each end.
    assert found.low == pytest.approx(reference.confidence_interval.low, abs=0.06 * width)
    assert found.high == pytest.approx(reference.confidence_interval.high, abs=0.06 * width)
    assert found.p is None


def test_one_seed_is_the_normal_interval_of_many_examples():
    generator = np.random.default_rng(3)
    difference = generator.normal(0.5, 10, 2000)
    found = compared(np.zeros((1, 2000)), difference[None], SETTINGS.model_copy(update={"confidence": 0.9}))
    half = stats.norm.ppf(0.95) * difference.std() / np.sqrt(2000)
    assert (found.low, found.high) == pytest.approx(
        (difference.mean() - half, difference.mean() + half), abs=0.1 * half
    )


def test_without_noise_of_examples_it_is_students_interval_over_seeds():
    """Every example has the same difference, so only the seeds differ: the closed form with S − 1 degrees."""
    by_seed = np.array([1.0, 2.5, 4.0, 1.5])
    first = np.random.default_rng(0).normal(70, 20, (4, 50))
    found = compared(first, first + by_seed[:, None])
    exact = stats.ttest_1samp(by_seed, 0)
    low, high = exact.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high), abs=2e-3 * (high - low))
    assert found.p == pytest.approx(exact.pvalue, rel=0.02)


def test_noise_that_is_each_seeds_own_counts_once():
    """Examples differ independently from seed to seed: the plain t interval over seeds has all of it already."""
    generator = np.random.default_rng(4)
    first = np.full((5, 2000), 50.0)
    second = first + generator.normal(0, 30, first.shape)
    found = compared(first, second)
    low, high = stats.ttest_1samp((second - first).mean(1), 0).confidence_interval(0.95)
    assert found.high - found.low == pytest.approx(high - low, rel=0.05)


def test_noise_that_all_seeds_share_does_not_shrink_with_their_number():
    one = np.random.default_rng(5).normal(0, 30, 500)
    several = compared(np.zeros((5, 500)), np.tile(one, (5, 1)))
    alone = compared(np.zeros((1, 500)), one[None])
    assert (several.low, several.high) == pytest.approx((alone.low, alone.high))
    two_sided = 2 * stats.norm.sf(abs(one.mean()) / (one.std() / np.sqrt(500)))
    assert several.p == pytest.approx(two_sided, abs=0.03)


def experiment(generator, seeds, effect, seed_noise, binary, examples=120):
    """Scores of two methods, (S, n) each, whose true difference over examples and seeds is `effect` (percent).

    Examples differ in how hard they are, and in which method they suit; each seed moves a method as a whole, and each
    run answers by itself.
    """
    hard = generator.uniform(0.35, 0.85, examples)
    methods = []
    for shift in (0.0, effect / 100):
        suits = generator.normal(0, 0.05, examples)
        moved = generator.normal(0, seed_noise, (seeds, 1))
        right = hard + suits + moved + shift
        noise = generator.random((seeds, examples)) if binary else None
        methods.append(100.0 * (noise < right if binary else right + generator.normal(0, 0.1, right.shape)))
    return methods


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("seed_noise", [0.01, 0.04])
@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_cover_no_difference_as_often_as_they_say(seeds, seed_noise, binary):
    generator = np.random.default_rng([seeds, int(100 * seed_noise), binary])
    settings = SETTINGS.model_copy(update={"resamples": 400})
    found = [compared(*experiment(generator, seeds, 0.0, seed_noise, binary), settings) for _ in range(400)]
    covered = np.mean([item.low <= 0 <= item.high for item in found])
    assert 0.92 <= covered <= 0.985
    # The interval and p say the same.
    assert np.mean([item.p > 0.05 for item in found]) == pytest.approx(covered, abs=0.015)


def test_resampling_seeds_as_well_would_cover_too_seldom():
    """What the t part is for: the same experiments, with three seeds drawn with replacement in its place."""
    generator, covered = np.random.default_rng(8), []
    for _ in range(300):
        first, second = experiment(generator, 3, 0.0, 0.04, binary=False)
        whole = (second - first).mean(1)
        drawn = whole[generator.integers(0, 3, (400, 3))].mean(1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        covered.append(low <= 0 <= high)
    assert np.mean(covered) < 0.85


def test_a_real_difference_is_found_on_the_right_side():
    generator = np.random.default_rng(9)
    settings = SETTINGS.model_copy(update={"resamples": 400})
    found = [compared(*experiment(generator, 5, -8.0, 0.01, True, examples=800), settings) for _ in range(50)]
    assert np.mean([item.high < 0 for item in found]) > 0.9
    assert np.mean([item.low <= -8 <= item.high for item in found]) > 0.85


def test_the_same_seed_gives_the_same_interval_whatever_else_is_compared():
    """One seed: nothing is pooled. The draws depend on the number in params.yaml."""
    generator = np.random.default_rng(2)
    values = generator.random((3, 90)) + generator.random((3, 1))
    runs = [(name, 1) for name in ("ft", "kd", "ted")]
    both = differences(Mean(values), runs, "ft", SETTINGS)
    alone = differences(Mean(values[:2]), runs[:2], "ft", SETTINGS)
    assert list(both) == ["kd", "ted"] and dataclasses.astuple(both["kd"])[:3] == pytest.approx(
        dataclasses.astuple(alone["kd"])[:3], rel=1e-12
    )
    other = differences(Mean(values), runs, "ft", SETTINGS.model_copy(update={"seed": 6}))
    assert other["kd"].low != both["kd"].low


def test_methods_share_the_seeds_part_and_keep_their_values():
    """Without noise of examples the interval is Student's, with variance and degrees of freedom of the whole table."""
    generator = np.random.default_rng(2)
    by_run = generator.normal(50, 1, (9, 1))
    runs = [(name, seed) for name in ("ft", "kd", "ted") for seed in (1, 2, 3)]
    both = differences(Mean(by_run.repeat(40, axis=1)), runs, "ft", SETTINGS)
    methods = by_run.reshape(3, 3)
    noise = seed_noise.pooled(methods[1:], methods[0])
    half = np.sqrt(noise.variance) * stats.t.isf(0.025, noise.freedom)
    for item, scores in zip(both.values(), methods[1:], strict=True):
        assert item.value == pytest.approx(scores.mean() - methods[0].mean())
        assert (item.low, item.high) == pytest.approx((item.value - half, item.value + half), abs=0.01 * half)
    alone = differences(Mean(by_run[:6].repeat(40, axis=1)), runs[:6], "ft", SETTINGS)
    assert alone["kd"].value == both["kd"].value and alone["kd"].high != both["kd"].high


def test_the_baseline_may_have_further_seeds():
    """Its mean is over all of them, and it may stand anywhere among the runs."""
    generator = np.random.default_rng(12)
    by_run = generator.normal(50, 1, (8, 1))
    runs = [("kd", 1), ("kd", 2), *(("ft", seed) for seed in (7, 1, 8, 9, 2, 5))]
    (found,) = differences(Mean(by_run.repeat(40, axis=1)), runs, "ft", SETTINGS).values()
    assert found.value == pytest.approx(by_run[:2].mean() - by_run[2:].mean())
    order = [3, 6, 2, 4, 5, 7]  # seeds 1 and 2 first
    noise = seed_noise.pooled(by_run[None, :2, 0], by_run[order, 0])
    half = np.sqrt(noise.variance) * stats.t.isf(0.025, noise.freedom)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.02)


def test_equal_runs_differ_by_nothing():
    same = np.random.default_rng(0).random((3, 40))
    found = compared(same, same)
    assert found == Difference(0.0, 0.0, 0.0, 1.0, Noise(0.0, 0.0, 2.0))
    assert detectable({"kd": found}, 0.95) == {"kd": 0.0}


def test_p_is_never_0():
    first = np.full((2, 99), 50.0)
    found = compared(first, first + [[30.0], [30.0001]])
    assert 0 < found.p < 0.001


def test_holm_is_the_step_down_rule():
    """0.01 · 4, 0.013 · 3 raised to it, 0.03 · 2, 0.2 · 1."""
    assert holm([0.03, 0.01, 0.2, 0.013]) == pytest.approx([0.06, 0.04, 0.2, 0.04])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_verdicts_are_corrected_for_the_number_of_methods():
    found = {
        "kd": Difference(1.0, 0.5, 1.5, 0.01),
        "lwd": Difference(-1.0, -1.8, -0.1, 0.03),
        "ted": Difference(0.2, -1.0, 1.4, 0.7),
    }
    assert verdicts(found, 0.95) == {"kd": "better", "lwd": "cannot tell", "ted": "cannot tell"}
    assert verdicts({"lwd": found["lwd"]}, 0.95) == {"lwd": "worse"}
    assert verdicts({"kd": Difference(1.0, 0.5, 1.5, None)}, 0.95) == {"kd": "one seed"}


def test_the_gap_is_closed_in_percent_where_there_is_one():
    assert gap_closed(82.0, 80.0, 90.0) == pytest.approx(20) and gap_closed(79.0, 80.0, 90.0) == pytest.approx(-10)
    assert gap_closed(82.0, 80.0, 80.0) is None and gap_closed(82.0, 80.0, 79.0) is None
