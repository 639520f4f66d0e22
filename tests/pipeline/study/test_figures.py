"""Means, costs and updates of equal time from figures of known differences and times."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.errors import UserError
from distill.experiments import study
from tests.helpers import studied


def test_the_mean_leaves_out_replications(tmp_path: Path) -> None:
    figures = studied.figures(tmp_path, studied.plan())
    assert figures.mean("ted", "ft").value == pytest.approx(1.7)
    assert figures.mean("ft", "kd").value == pytest.approx(-1.5)
    assert figures.mean("mate", "kd").value == pytest.approx(-3.5)
    # Two tasks with equal errors: each error shrinks by the root of two.
    assert figures.mean("ted", "ft").high - 1.7 < 1.96 * 0.142 / 2**0.5 * 1.2


def test_costs_are_ratios_to_the_baseline(tmp_path: Path) -> None:
    figures = studied.figures(tmp_path, studied.plan())
    assert figures.mean_cost("ted") == pytest.approx(2.0)
    assert figures.mean_cost("ft") == pytest.approx(1.0)


def test_a_cost_is_the_median_over_rounds_of_ratios_within_a_round(tmp_path: Path) -> None:
    """The second round is on a slower machine, the third was not run with this arm."""
    figures = studied.figures(tmp_path, studied.plan(seeds={**studied.SEEDS, "screening": [1, 2, 4, 5]}))
    for seed, rows in {
        2: {"ft": 60.0, "ted": 150.0},
        4: {"ft": 12.0, "ted": 27.0},
        5: {"ft": 12.0},
    }.items():
        for arm, seconds in rows.items():
            studied.trained(tmp_path / "a" / study.TIME, arm, seed, seconds)
    assert figures.ratios("a", "ted") == pytest.approx([2.0, 2.5, 2.25])
    assert figures.cost("a", "ted") == pytest.approx(2.25)


def test_updates_of_equal_time_are_by_the_times_of_the_quiet_block(tmp_path: Path) -> None:
    figures = studied.figures(tmp_path, studied.plan())
    assert figures.as_long("a", "ted") == 400
    assert figures.as_long("b", "kd") == 210


def test_without_times_nothing_is_as_long(tmp_path: Path) -> None:
    figures = studied.figures(tmp_path, studied.plan(), timed=False)
    with pytest.raises(UserError, match="time: missing: run phase time of a first on an idle machine"):
        figures.as_long("a", "ted")


def test_what_is_made_once_has_the_seconds_of_whole_trainings(tmp_path: Path) -> None:
    figures = studied.figures(tmp_path, studied.plan())
    records = tmp_path / "a" / study.SCREEN / "data/runs"
    resumed = {"seconds": 30.0, "train_seconds": 25.0, "trainer_steps": 100, "resumed": True, "resumed_from": 50}
    studied.write(records / "predict_teacher.json", {"seconds": 7.5})
    studied.write(records / "finetune_teacher.json", resumed)
    studied.write(records / "augment.json", {"seconds": 0.1, "needed": False})
    assert list(figures.before_students("a").items()) == [("finetune_teacher", 55.0), ("predict_teacher", 7.5)]
    assert figures.before_students("b") == {}
    studied.trained(tmp_path / "a" / study.SCREEN, "ft", 2, 1001.0, 200)
    assert figures.student_seconds("a", "ft") == 1000
