"""Coverage, wrong verdicts and power of comparisons in simulated experiments, and the smallest difference they find."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.power import RULES, design_of, simulate
from distill.analysis import power, seed_noise
from distill.analysis.power import Noise

EXPERIMENTS = 500


#: Numbers of methods and seeds. `make test` has each of them with two of the others.
SIZES = [
    pytest.param(methods, seeds, marks=pytest.mark.exhaustive if (methods, seeds) in ((3, 2), (7, 3), (20, 5)) else ())
    for methods, seeds in itertools.product((3, 7, 20), (2, 3, 5))
]


@pytest.mark.parametrize(("methods", "seeds"), SIZES)
def test_pooling_keeps_its_promises_where_all_are_alike(methods, seeds):
    """A share of 0.95 has a standard error of 0.01 or less, one of 0.05 one of 0.01, with 500 experiments."""
    found = simulate(design_of("all alike", methods, seeds), EXPERIMENTS, seed=seeds)
    assert 0.94 <= found.coverage <= 0.985
    assert found.wrong <= 0.065


@pytest.mark.parametrize("kind", ["baseline 3 times as restless", "baseline a fifth as restless"])
@pytest.mark.parametrize("methods", [7, 20])
def test_a_baseline_that_is_unlike_the_methods_makes_no_wrong_verdicts(kind, methods):
    found = simulate(design_of(kind, methods, 3), EXPERIMENTS, seed=1)
    assert found.coverage >= 0.93 and found.wrong <= 0.07


def test_pooling_over_all_runs_fails_with_a_restless_baseline():
    """What the variance of the differences is for: the same experiments."""
    design = design_of("baseline 3 times as restless", 7, 3)
    found = simulate(design, EXPERIMENTS, 1, RULES["everything"])
    assert found.wrong > 0.08 and found.coverage < 0.9


def test_one_restless_method_is_the_limit():
    """docs/reports.md gives these numbers: wrong verdicts that are about the restless method itself."""
    mild = simulate(design_of("one method 3 times as restless", 20, 3), EXPERIMENTS, seed=1)
    strong = simulate(design_of("one method 6 times as restless", 20, 3), EXPERIMENTS, seed=1)
    assert mild.wrong <= 0.09 and 0.1 <= strong.wrong <= 0.25


@pytest.mark.parametrize("methods", [7, 20])
def test_a_true_difference_of_2_points_is_found_several_times_as_often(methods):
    design = replace(design_of("all alike", methods, 3), effect=2.0)
    own, pooled = (simulate(design, EXPERIMENTS, 2, RULES[rule]).found for rule in ("own", "pooled"))
    assert own < 0.2 and pooled > 3 * own and pooled > 0.3


@pytest.mark.parametrize("kind", ["all alike", "baseline 3 times as restless"])
def test_further_seeds_of_the_baseline_help_and_cost_no_coverage(kind):
    design = design_of(kind, 7, 3)
    more = replace(design, further=6)
    null = simulate(more, EXPERIMENTS, seed=3)
    assert null.coverage >= 0.935 and null.wrong <= 0.065
    few, many = (simulate(replace(part, effect=2.0), EXPERIMENTS, seed=4) for part in (design, more))
    assert many.found > few.found + 0.1 and many.detectable < few.detectable


@pytest.mark.parametrize(
    ("methods", "seeds", "further", "kind"),
    [
        (7, 3, 0, "all alike"),
        pytest.param(20, 3, 0, "all alike", marks=pytest.mark.exhaustive),
        pytest.param(3, 5, 0, "all alike", marks=pytest.mark.exhaustive),
        (7, 5, 0, "baseline a fifth as restless"),
        (7, 3, 0, "baseline 3 times as restless"),
        (7, 3, 6, "all alike"),
    ],
)
def test_the_smallest_difference_is_found_four_times_out_of_five(methods, seeds, further, kind):
    design = design_of(kind, methods, seeds, further)
    size = simulate(design, 200, 5, sized=200).detectable
    found = simulate(replace(design, effect=size), 800, 6, sized=0).found
    assert 0.7 <= found <= 0.88


def test_the_smallest_difference_is_that_of_textbooks_without_one_of_the_parts():
    """With known noise z(α/2) + z(β); with few degrees of freedom the noncentral t's."""
    known = power.detectable(Noise(2.0, 0.0, 5.0), 0.01)
    assert known == pytest.approx(2 * (stats.norm.isf(0.005) + stats.norm.ppf(0.8)), rel=1e-3)
    few = power.detectable(Noise(0.0, 2.0, 5.0), 0.01) / 2
    few *= np.sqrt(stats.chi2.median(5) / 5)  # an estimate is too low more often than too high
    assert stats.nct.sf(stats.t.isf(0.005, 5), 5, few) == pytest.approx(0.8, abs=0.01)
    assert power.detectable(Noise(0.0, 0.0, 5.0), 0.01) == 0


@pytest.mark.parametrize(("shared", "seeds"), [(1.0, 1.0), (3.0, 1.0), (0.2, 1.0), (0.0, 1.0)])
@pytest.mark.parametrize("freedom", [2.0, 7.3])
def test_tails_of_the_sum_are_those_of_draws(shared, seeds, freedom):
    generator = np.random.default_rng(0)
    draws = generator.normal(0, shared, 400_000) + seeds * generator.standard_t(freedom, 400_000)
    values = np.quantile(draws, [0.6, 0.9, 0.99, 0.998])
    assert power.tail(values, shared, seeds, freedom) == pytest.approx([0.4, 0.1, 0.01, 0.002], rel=0.12)


def test_pooled_is_students_paired_variance_for_one_method():
    generator = np.random.default_rng(1)
    method, baseline = generator.normal(0, 1, (1, 4)), generator.normal(0, 1, 4)
    noise = seed_noise.pooled(method, baseline)
    assert noise.variance == pytest.approx((method[0] - baseline).var(ddof=1) / 4) and noise.freedom == 3


def test_degrees_of_freedom_run_from_all_methods_to_one():
    """Independent differences count m times, differences that are the same once."""
    generator = np.random.default_rng(2)
    runs = generator.normal(0, 1, (5000, 10, 4))
    independent = seed_noise.pooled(runs, np.zeros((5000, 4)))
    assert np.median(independent.freedom) == pytest.approx(30, rel=0.1)
    same = seed_noise.pooled(np.zeros((1, 10, 4)), generator.normal(0, 1, (1, 4)))
    assert same.freedom == pytest.approx(3)
    # Correlation 1/2, where the baseline is as restless as the methods: 3 / (0.1 + 0.9 / 4).
    half = seed_noise.pooled(runs, generator.normal(0, 1, (5000, 4)))
    assert np.median(half.freedom) == pytest.approx(3 / (0.1 + 0.9 / 4), rel=0.25)
    assert np.median(half.planned) <= 3 / (0.1 + 0.9 / 4) + 1e-9 and (half.planned <= half.freedom).all()


def test_the_variance_of_the_mean_is_met_with_further_seeds():
    """Against the variance of many simulated differences, with runs of one seed that move together."""
    generator = np.random.default_rng(3)
    common = generator.normal(0, 0.6, (20_000, 1, 7))
    runs = common[..., :3] + generator.normal(0, 1, (20_000, 5, 3))
    baseline = common[:, 0] + generator.normal(0, 2, (20_000, 7))
    noise = seed_noise.pooled(runs, baseline)
    true = (runs[:, 0].mean(-1) - baseline.mean(-1)).var()
    assert noise.variance.mean() == pytest.approx(true, rel=0.03)
