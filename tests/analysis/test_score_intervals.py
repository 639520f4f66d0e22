"""Intervals of single scores: against their formula, and how often they hold what they should."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from distill.analysis import score_intervals

SETTINGS = SimpleNamespace(resamples=400, seed=3, confidence=0.95)


@pytest.mark.parametrize(("right", "examples"), [(0, 9), (9, 9), (35, 81), (1, 2)])
def test_wilson(right, examples):
    expected = binomtest(right, examples).proportion_ci(0.95, method="wilson")
    found = score_intervals.wilson(100 * right / examples, examples, 0.95)
    assert found == pytest.approx([100 * end for end in expected], abs=1e-9)


def test_a_score_s_interval_is_as_wide_as_its_standard_error_says():
    random = np.random.default_rng(5)
    tables = {
        name: {seed: pd.DataFrame({"f1": 100.0 * (random.random(900) < share)}) for seed in seeds}
        for name, share, seeds in (("teacher", 0.9, (None,)), ("kd", 0.6, (1, 2, 3)))
    }
    found = score_intervals.of(tables, "f1", (), SETTINGS)
    for name, seeds in tables.items():
        means = np.mean([table["f1"] for table in seeds.values()], axis=0)
        low, high = found[name]
        half = 1.96 * means.std() / np.sqrt(len(means))
        assert (low + high) / 2 == pytest.approx(means.mean(), abs=0.4 * half)
        assert (high - low) / 2 == pytest.approx(half, rel=0.2)


def test_examples_of_a_group_are_drawn_together():
    values = np.repeat([0.0, 100.0] * 10, 40)
    tables = {"teacher": {None: pd.DataFrame({"f1": values})}}
    alone, together = (
        score_intervals.of(tables, "f1", (), SETTINGS, groups)["teacher"] for groups in (None, np.repeat(range(20), 40))
    )
    assert together[1] - together[0] > 4 * (alone[1] - alone[0])
