"""Intervals against scipy and closed forms, their coverage in simulated experiments, Holm, verdicts."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from distill.analysis import seed_noise
from distill.analysis.bootstrap import Mean
from distill.analysis.power import Noise
from distill.analysis.significance import (
    Difference,
    Scored,
    compare,
    detectable,
    differences,
    gap_closed,
    holm,
    pairs,
    verdicts,
)
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


# Each value with each of the others; the other half of the combinations is exhaustive.
HALF = [(3, 0.01, True), (3, 0.04, False), (5, 0.01, False), (5, 0.04, True)]
OTHER_HALF = [(seeds, noise, not binary) for seeds, noise, binary in HALF]


@pytest.mark.parametrize(
    ("seeds", "seed_noise", "binary"),
    [*HALF, *(pytest.param(*each, marks=pytest.mark.exhaustive) for each in OTHER_HALF)],
)
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


def runs_of(generator, names, seeds, level=80.0, spread=0.5, examples=400):
    """(score, runs): methods whose runs scatter around one level, examples that are hard or easy for all."""
    runs = [(name, seed) for name in names for seed in seeds]
    hard = generator.normal(level, 20, examples)
    values = hard + generator.normal(0, spread, (len(runs), 1)) + generator.normal(0, 8, (len(runs), examples))
    return values, runs


def test_a_further_baseline_is_compared_on_the_seeds_of_all():
    """ft has further seeds, which count only where ft is the baseline."""
    values, runs = runs_of(np.random.default_rng(20), ["ft", "kd", "ted"], [1, 2, 3])
    more = np.random.default_rng(21).normal(60, 5, (2, values.shape[1]))
    scored = Scored(Mean(np.concatenate([values, more])), [*runs, ("ft", 8), ("ft", 9)], SETTINGS)
    to_kd = compare(scored, ["ft", "kd", "ted"], "kd")
    assert list(to_kd.differences) == ["ft", "ted"] and to_kd.gaps == {}
    assert to_kd.differences["ft"].value == pytest.approx(values[:3].mean() - values[3:6].mean())
    to_ft = compare(scored, ["ft", "kd", "ted"], "ft")
    assert to_ft.differences["kd"].value == pytest.approx(
        values[3:6].mean() - np.concatenate([values[:3], more]).mean()
    )


def test_all_pairs_take_the_larger_variance_and_do_not_depend_on_the_order():
    values, runs = runs_of(np.random.default_rng(22), ["ft", "kd", "ted"], [1, 2, 3])
    values[6:] += np.array([[-9.0], [0.0], [9.0]])  # ted is restless
    scored = Scored(Mean(values), runs, SETTINGS)
    found = pairs(scored, ["ft", "kd", "ted"])
    assert list(found) == [("kd", "ft"), ("ted", "ft"), ("ted", "kd")]
    turned = pairs(scored, ["ted", "kd", "ft"])[("ft", "kd")]
    first = found["kd", "ft"]
    assert (turned.value, turned.noise.seeds) == pytest.approx((-first.value, first.noise.seeds))
    table = compare(scored, ["ft", "kd", "ted"], "ft").differences["ted"]
    assert found["ted", "ft"].noise.seeds > table.noise.seeds


@pytest.mark.parametrize("seeds", [[1], [1, 2, 3]])
def test_the_gaps_interval_is_around_the_gap_and_absent_where_there_may_be_none(seeds):
    values, runs = runs_of(np.random.default_rng(23), ["ft", "kd"], seeds, spread=0.1)
    for row, (name, _) in enumerate(runs):
        values[row] += 5 if name == "kd" else 0
    base = np.array([values[row] for row, (name, _) in enumerate(runs) if name == "ft"]).mean(0)
    noise = np.random.default_rng(24).normal(0, 5, len(base))

    def gap(teacher):
        scored = Scored(Mean(np.concatenate([values, teacher[None]])), [*runs, ("teacher", None)], SETTINGS)
        return compare(scored, ["ft", "kd"], "ft", "teacher").gaps["kd"]

    low, high = gap(base + 10 + noise)
    assert 30 < low < 50 < high < 75
    assert gap(base + 0.1 + noise) is None and gap(base - 10 + noise) is None


def test_the_gaps_interval_covers_the_true_share_as_often_as_it_says():
    """Half of a gap of 8 points; examples and seeds are drawn anew each time."""
    generator, covered = np.random.default_rng(25), []
    settings = SETTINGS.model_copy(update={"resamples": 300})
    for _ in range(250):
        hard = generator.normal(70, 15, 150)
        means = [0.0] * 3 + [4.0] * 3
        moved = np.array(means)[:, None] + generator.normal(0, 0.7, (6, 1)) + generator.normal(0, 6, (6, 150))
        suits = np.repeat(generator.normal(0, 5, (2, 150)), 3, axis=0)
        teacher = hard + 8 + generator.normal(0, 6, 150)
        runs = [("ft", 1), ("ft", 2), ("ft", 3), ("kd", 1), ("kd", 2), ("kd", 3), ("teacher", None)]
        scored = Scored(Mean(np.concatenate([hard + moved + suits, teacher[None]])), runs, settings)
        interval = compare(scored, ["ft", "kd"], "ft", "teacher").gaps["kd"]
        covered.append(None if interval is None else interval[0] <= 50 <= interval[1])
    known = [yes for yes in covered if yes is not None]
    assert len(known) > 0.9 * len(covered) and 0.92 <= np.mean(known) <= 0.99


def test_examples_of_a_group_are_resampled_together():
    """Ten copies of each example, grouped, tell as much as one of each; without groups the interval is too narrow."""
    generator = np.random.default_rng(26)
    difference = generator.normal(1, 20, 120)
    runs = [("ft", 1), ("kd", 1)]

    def width(values, groups=None):
        found = differences(Mean(np.array([np.zeros_like(values), values])), runs, "ft", SETTINGS, groups)["kd"]
        return found.high - found.low

    copies, groups = difference.repeat(10), np.arange(120).repeat(10)
    assert width(copies, groups) == pytest.approx(width(difference), rel=0.05)
    assert width(copies) == pytest.approx(width(difference) / np.sqrt(10), rel=0.1)


@pytest.mark.parametrize("grouped", [True, False])
def test_grouped_intervals_cover_where_examples_of_a_paragraph_go_together(grouped):
    """40 paragraphs of 1 to 9 questions; half of a question's difference is its paragraph's."""
    generator, covered = np.random.default_rng(27), []
    settings = SETTINGS.model_copy(update={"resamples": 300})
    for _ in range(300):
        groups = np.repeat(np.arange(40), generator.integers(1, 10, 40))
        values = generator.normal(0, 10, 40)[groups] + generator.normal(0, 10, len(groups))
        score = Mean(np.array([np.zeros_like(values), values]))
        found = differences(score, [("ft", 1), ("kd", 1)], "ft", settings, groups if grouped else None)["kd"]
        covered.append(found.low <= 0 <= found.high)
    assert 0.91 <= np.mean(covered) <= 0.97 if grouped else np.mean(covered) < 0.85


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_interval_to_a_single_model_covers_the_true_difference_as_often_as_it_says(seeds):
    """Four points below a teacher that is the same each time; examples and seeds are drawn anew."""
    generator, covered = np.random.default_rng(28), []
    settings = SETTINGS.model_copy(update={"resamples": 300})
    runs = [*(("kd", seed) for seed in range(seeds)), ("teacher", None)]
    for _ in range(250):
        hard = generator.normal(70, 15, 150)
        students = hard - 4 + generator.normal(0, 1.0, (seeds, 1)) * (seeds > 1) + generator.normal(0, 6, (seeds, 150))
        scored = Scored(Mean(np.concatenate([students, hard[None]])), runs, settings)
        found = scored.to_single("kd", "teacher")
        assert found.p is None and found.value == pytest.approx(students.mean() - hard.mean())
        covered.append(found.low <= -4 <= found.high)
    assert 0.91 <= np.mean(covered) <= 0.995
