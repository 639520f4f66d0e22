"""Numbers as people read them."""

import pytest

from distill.report import formatting


def test_numbers():
    assert [formatting.number(v) for v in (3.14159, -0.5, 12345.678, None)] == ["3.14", "−0.50", "12,345.68", "–"]
    assert formatting.number(0.256, 1, signed=True) == "+0.3"


def test_a_spread_of_one_seed_is_no_spread_of_zero():
    assert formatting.spread(86.1, None) == "86.10" and formatting.spread(86.1, 0.0) == "86.10 ± 0.00"


def test_intervals():
    assert formatting.interval(-0.314, 1.2) == "[−0.31, +1.20]" and formatting.interval(None, 1) == "–"


@pytest.mark.parametrize(
    "value, text",
    [(22_713_216, "22.7 M"), (999_999, "1,000 k"), (85e9, "85.0 G"), (42, "42.0"), (1.5, "1.50"), (None, "–")],
)
def test_large_numbers(value, text):
    assert formatting.short(value) == text


@pytest.mark.parametrize(
    "seconds, text",
    [(4.25, "4.2 s"), (95.8, "96 s"), (130, "2 min"), (5400, "90 min"), (9000, "2 h 30 min"), (None, "–")],
)
def test_durations(seconds, text):
    assert formatting.duration(seconds) == text


def test_lists():
    assert formatting.listed(["a"]) == "a" and formatting.listed(["a", "b", "c"]) == "a, b and c"
    assert formatting.listed(list("abcdefgh"), most=3) == "a, b and 6 more"


def test_probabilities():
    assert [formatting.probability(p) for p in (0.0, 0.0304, None)] == ["< 0.001", "0.030", "–"]
