"""Schedules against the formulas of the encoder-distillation study, written in steps s of N with w of warm-up."""

from math import cos, pi, sin

import pytest
from pydantic import TypeAdapter, ValidationError

from distill.losses.weights import Rest, ScheduledWeight, Share, Weight, factor


def constant(s, n, w, m):
    return 1.0


def linear(s, n, w, m):
    return 0.0 if s <= w else (s - w) / (n - w)


def cosine_growth(s, n, w, m):
    return 0.0 if s <= w else 1 - cos(pi / 2 * (s - w) / (n - w))


def cosine_descent(s, n, w, m):
    return 1.0 if s <= w else cos(pi / 2 * (s - w) / (n - w))


def cosine_v(s, n, w, m):
    if s <= w:
        return 1.0
    return cos(pi / 2 * (s - w) / (m - w)) if s <= m else sin(pi / 2 * (s - m) / (n - m))


def cosine_peak(s, n, w, m):
    if s <= w:
        return 0.0
    return 1 - cos(pi / 2 * (s - w) / (m - w)) if s <= m else 1 - sin(pi / 2 * (s - m) / (n - m))


FORMULAS = [constant, linear, cosine_growth, cosine_descent, cosine_v, cosine_peak]


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize(("total", "warmup"), [(100, 0), (100, 10), (97, 13), (8, 4), (1000, 999)])
def test_every_step_is_the_formula(formula, total, warmup):
    middle = warmup + (total - warmup) / 2
    for step in range(total + 1):
        expected = formula(step, total, warmup, middle)
        assert factor(formula.__name__, step / total, warmup / total) == pytest.approx(expected, abs=1e-9), step


@pytest.mark.parametrize(
    ("name", "start", "middle", "end"),
    [
        ("constant", 1, 1, 1),
        ("linear", 0, 0.5, 1),
        ("cosine_growth", 0, 1 - cos(pi / 4), 1),
        ("cosine_descent", 1, cos(pi / 4), 0),
        ("cosine_v", 1, 0, 1),
        ("cosine_peak", 0, 1, 0),
    ],
)
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_both_ends_and_the_middle_are_reached_and_progress_beyond_them_stays_there(name, start, middle, end, warmup):
    for progress in (-0.5, 0, warmup / 2, warmup):
        assert factor(name, progress, warmup) == pytest.approx(start, abs=1e-12)
    assert factor(name, warmup + (1 - warmup) / 2, warmup) == pytest.approx(middle, abs=1e-12)
    for progress in (1, 1.5):
        assert factor(name, progress, warmup) == pytest.approx(end, abs=1e-12)


@pytest.mark.parametrize("formula", FORMULAS)
def test_factors_stay_between_nothing_and_everything(formula):
    values = [factor(formula.__name__, step / 997, 0.1) for step in range(998)]
    assert min(values) >= -1e-12 and max(values) <= 1 + 1e-12


def test_a_weight_is_a_number_a_number_written_as_text_or_a_schedule():
    read = TypeAdapter(Weight).validate_python
    assert [read(value).at(p) for value in (10, 2.5, "1e-05") for p in (0, 1)] == [10, 10, 2.5, 2.5, 1e-5, 1e-5]
    scheduled = read({"value": 10, "schedule": "linear", "warmup": 0.1})
    assert scheduled == ScheduledWeight(value=10, schedule="linear", warmup=0.1)
    assert scheduled.at(0.55) == pytest.approx(5)


@pytest.mark.parametrize(
    "value", [True, "ten", None, [1], {"value": 1}, {"value": 1, "schedule": "sine", "warmup": 0}, float("nan")]
)
def test_anything_else_is_refused(value):
    with pytest.raises(ValidationError):
        TypeAdapter(Weight).validate_python(value)


@pytest.mark.parametrize("written", [3.0, {"value": 3.0, "schedule": "linear", "warmup": 0.1}])
def test_a_weight_is_dumped_as_params_yaml_has_it(written):
    weight = TypeAdapter(Weight).validate_python(written)
    assert weight.model_dump() == written
    assert TypeAdapter(Weight).validate_python(weight.model_dump()) == weight


@pytest.mark.parametrize("schedule", [f.__name__ for f in FORMULAS])
def test_the_rest_is_what_weights_leave_of_one_at_every_moment(schedule):
    read = TypeAdapter(Weight).validate_python
    share, other = read({"value": 0.6, "schedule": schedule, "warmup": 0.1}), read(0.25)
    times = read({"value": 8, "schedule": "linear", "warmup": 0})
    for step in range(101):
        p = step / 100
        left = 1 - 0.6 * factor(schedule, p, 0.1)
        assert Rest((share,)).at(p) == pytest.approx(left)
        assert Rest((share, other)).at(p) == pytest.approx(left - 0.25)
        assert Rest((share,), times).at(p) == pytest.approx(left * 8 * p)


@pytest.mark.parametrize("pair", [("cosine_growth", "cosine_descent"), ("cosine_v", "cosine_peak")])
@pytest.mark.parametrize("warmup", [0.0, 0.1])
def test_growth_and_descent_and_peak_and_v_add_up_to_one(pair, warmup):
    for step in range(101):
        assert sum(factor(name, step / 100, warmup) for name in pair) == pytest.approx(1)


def test_a_share_is_a_weight_from_zero_to_one():
    read = TypeAdapter(Share).validate_python
    assert read(0.5).at(0.3) == 0.5 and read("1").at(0) == 1
    assert read({"value": 1, "schedule": "linear", "warmup": 0.0}).at(0.3) == pytest.approx(0.3)
    for value in (-0.1, 1.01, {"value": 2, "schedule": "linear", "warmup": 0.0}, True):
        with pytest.raises(ValidationError):
            read(value)
