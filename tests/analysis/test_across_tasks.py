"""The mean over tasks against a simulation, and against the cases that have a closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from distill.analysis.across_tasks import TaskDifference, mean


def test_one_task_without_noise_of_examples_is_students_t() -> None:
    found = mean([TaskDifference(1.0, 0.0, 0.4, 5.0)], 0.95)
    half = stats.t.ppf(0.975, 5) * 0.4
    assert (found.low, found.high) == pytest.approx((1 - half, 1 + half), abs=2e-3)
    assert found.p == pytest.approx(2 * stats.t.sf(1 / 0.4, 5), abs=1e-3)


def test_many_degrees_of_freedom_are_normal() -> None:
    tasks = [TaskDifference(0.5, 0.3, 0.2, 1e6), TaskDifference(1.5, 0.4, 0.1, 1e6)]
    error = np.sqrt(0.3**2 + 0.4**2 + 0.2**2 + 0.1**2) / 2
    found = mean(tasks, 0.9)
    assert found.value == pytest.approx(1.0)
    assert found.high - found.value == pytest.approx(stats.norm.ppf(0.95) * error, rel=2e-3)
    assert found.p == pytest.approx(2 * stats.norm.sf(1 / error), rel=1e-2)


def test_equal_tasks_pool_their_degrees_of_freedom() -> None:
    found = mean([TaskDifference(1.0, 0.0, 0.6, 4.0)] * 3, 0.95)
    half = stats.t.ppf(0.975, 12) * 0.6 / np.sqrt(3)
    assert found.high - found.value == pytest.approx(half, rel=5e-3)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Three tasks whose seeds' variances differ fourfold and are estimated with 6, 6 and 10 degrees of freedom."""
    random, runs, truth = np.random.default_rng(1), 600, 0.3
    shared, seeds, freedom = np.array([0.5, 0.3, 0.4]), np.array([0.8, 0.4, 0.2]), np.array([6, 6, 10])
    covered = 0
    for _ in range(runs):
        values = truth + random.normal(0, np.hypot(shared, seeds))
        estimates = seeds * np.sqrt(random.chisquare(freedom) / freedom)
        tasks = [TaskDifference(*row) for row in zip(values, shared, estimates, freedom, strict=True)]
        found = mean(tasks, 0.9)
        covered += found.low <= truth <= found.high
    assert 0.87 <= covered / runs <= 0.94


def test_p_and_interval_agree() -> None:
    """Where an end of the interval is 0, p is what the interval leaves out."""
    tasks = [TaskDifference(0.0, 0.3, 0.5, 4.0), TaskDifference(0.0, 0.2, 0.1, 9.0)]
    half = mean(tasks, 0.95).high
    moved = [task._replace(value=half) for task in tasks]
    found = mean(moved, 0.95)
    assert found.low == pytest.approx(0, abs=1e-9)
    assert found.p == pytest.approx(0.05, abs=1e-6)


def test_seeds_that_do_not_differ_leave_the_examples_part() -> None:
    found = mean([TaskDifference(1.0, 0.3, 0.0, 4.0), TaskDifference(0.0, 0.4, 0.0, 4.0)], 0.95)
    assert found.high - found.value == pytest.approx(stats.norm.ppf(0.975) * 0.25)
    assert found.p == pytest.approx(2 * stats.norm.sf(0.5 / 0.25))
    assert mean([TaskDifference(0.0, 0.0, 0.0, 4.0)], 0.95) == (0.0, 0.0, 0.0, 1.0)
