"""The lead of a method that was picked among equal ones, and that fresh seeds take it away."""

import numpy as np
import pytest

from benchmarks.picked import REPORTED, SEED, SELECTION, leads


def test_the_picked_one_of_twenty_leads_by_luck_and_not_on_fresh_seeds():
    picked, fresh = leads(20, 1, 5000)
    # The greatest of 20 normal numbers is 1.867 standard deviations above the mean; regression to the luck that lasts.
    expected = 1.867 * SEED**2 / np.hypot(SEED, SELECTION) * 20 / 19
    assert picked == pytest.approx(expected, abs=0.04)
    assert abs(fresh) < 4 * np.hypot(SEED, REPORTED) / np.sqrt(5000)


def test_seeds_and_fewer_methods_make_it_less():
    assert leads(20, 5, 2000)[0] < 0.6 * leads(20, 1, 2000)[0]
    assert leads(3, 1, 2000)[0] < leads(20, 1, 2000)[0]
