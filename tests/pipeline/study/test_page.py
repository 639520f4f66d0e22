"""The tables of a study from figures of known differences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill.experiments import study
from distill.experiments.study import Study
from pipeline.study import page
from pipeline.study.page import Figures

TRIALS = [{"learning_rate": 1e-3}, {"learning_rate": 3e-3}]
# Points above ft on each task, and seconds of an update.
ABOVE = {"kd": (1.0, 2.0), "ted": (1.6, 1.8), "mate": (-3.0, -1.0)}
SECONDS = {"ft": 0.2, "kd": 0.21, "ted": 0.4, "mate": 0.8}


def _plan(**changes: Any) -> Study:
    values = {
        "seeds": {"tuning": [11], "screening": [1, 2], "further": [3], "confirmation": [101, 102]},
        "tasks": {"a": {"presets": ["a"]}, "b": {"presets": ["b"]}, "c": {"presets": ["c"], "replication": True}},
        "baseline": "ft",
        "also": "kd",
        "margin": 0.5,
        "timed_updates": 4,
        "arms": {name: TRIALS for name in SECONDS},
    }
    return Study.model_validate({**values, **changes})


def _row(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 1, "high": value + 1, "p": 0.2, "shared": 0.1, "seeds": 0.1, "freedom": 8.0}


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _figures(folder: Path, plan: Study, timed: bool = True) -> Figures:
    picks = {arm: 2 for arm in SECONDS}
    for number, task in enumerate(("a", "b", "c")):
        above = {name: values[number] if number < 2 else 50.0 for name, values in ABOVE.items()}
        scores = {"ft": 70.0, **{f"{name}-tuned": 70.0 + value for name, value in above.items()}}
        rows = {name: {"accuracy": s, "selection_accuracy": s, "seeds": [1, 2]} for name, s in scores.items()}
        against = {
            "ft": {f"{name}-tuned": _row(value) for name, value in above.items()},
            "kd-tuned": {
                "ft": _row(-above["kd"]),
                **{f"{name}-tuned": _row(value - above["kd"]) for name, value in above.items() if name != "kd"},
            },
        }
        screen = folder / task / study.SCREEN
        _write(screen / "phase.json", {"picks": picks})
        _write(screen / "metrics/summary.json", rows)
        _write(screen / "differences.json", {"metric": "accuracy", "against": against, "controls": []})
        for name, seconds in SECONDS.items() if timed else ():
            row = name if name == "ft" else f"{name}-tuned"
            record = {"train_seconds": 60 * seconds, "updates": 60, "trainer_steps": 60}
            _write(folder / task / study.TIME / f"data/runs/distill-{row}-1.json", record)
        if timed:
            _write(folder / task / study.TIME / "phase.json", {})
    return Figures(plan, folder)


def test_the_mean_leaves_out_replications(tmp_path: Path) -> None:
    figures = _figures(tmp_path, _plan())
    assert figures.mean("ted", "ft").value == pytest.approx(1.7)
    assert figures.mean("ft", "kd").value == pytest.approx(-1.5)
    assert figures.mean("mate", "kd").value == pytest.approx(-3.5)
    # Two tasks with equal errors: each error shrinks by the root of two.
    assert figures.mean("ted", "ft").high - 1.7 < 1.96 * 0.142 / 2**0.5 * 1.2
    assert "### Mean over a, b\n" in page.text(figures)


def test_the_cheapest_arm_near_the_best_is_recommended(tmp_path: Path) -> None:
    figures = _figures(tmp_path, _plan())
    # kd is 0.2 points below ted, and half the price.
    assert page.recommendation(figures).startswith("Recommended: **kd**")
    assert "the best one, ted" in page.recommendation(figures)
    strict = Figures(_plan(margin=0.1), tmp_path)
    assert page.recommendation(strict).startswith("Recommended: **ted**")


def test_costs_are_ratios_to_the_baseline(tmp_path: Path) -> None:
    figures = _figures(tmp_path, _plan())
    assert figures.mean_cost("ted") == pytest.approx(2.0)
    assert figures.mean_cost("ft") == pytest.approx(1.0)
    assert "ted 2" in page.picture(figures) or "ted +1.70" in page.picture(figures)


def test_without_times_there_is_no_recommendation_and_no_picture(tmp_path: Path) -> None:
    figures = _figures(tmp_path, _plan(), timed=False)
    assert "their costs are not taken yet" in page.recommendation(figures)
    assert page.picture(figures) is None


def test_verdicts_are_holms_over_the_arms(tmp_path: Path) -> None:
    means = page.text(_figures(tmp_path, _plan())).partition("### a: screening")[0]
    lines = {line.split(" | ")[0]: line for line in means.splitlines()}
    first = {name: lines[f"| {name}"].split(" | ") for name in SECONDS}
    assert first["ted"][3] == "better"
    assert first["mate"][3] == "worse"
    assert first["ft"][1:4] == ["", "", ""]


def test_before_the_first_screening_it_says_how_far_it_is(tmp_path: Path) -> None:
    _write(tmp_path / "a" / study.TUNE / "phase.json", {})
    for arm in ("teacher", "ft", "kd"):
        _write(tmp_path / "b" / study.TUNE / "arms" / f"{arm}.json", {})
    lines = page.text(Figures(_plan(), tmp_path)).splitlines()
    assert lines[0] == "### How far it is"
    assert lines[-3:] == ["| a | done |  |  |  |", "| b | 2 of 4 arms |  |  |  |", "| c |  |  |  |  |"]


def test_teachers_of_several_machines_are_told(tmp_path: Path) -> None:
    figures = _figures(tmp_path, _plan())
    for arm, teacher in (("ft", "abc"), ("kd", "abc"), ("teacher", None)):
        _write(tmp_path / "a" / study.SCREEN / "arms" / f"{arm}.json", {"teacher": teacher})
    assert "teachers, trained alike" not in page.text(figures)
    _write(tmp_path / "a" / study.SCREEN / "arms" / "ted.json", {"teacher": "other"})
    assert page.text(figures).count("learned from 2 teachers, trained alike") == 1


def test_how_far_it_is_is_not_said_of_a_finished_study(tmp_path: Path) -> None:
    for task in "abc":
        for phase in study.PHASES:
            _write(tmp_path / task / phase / "phase.json", {})
    assert page._progress(Figures(_plan(), tmp_path)) == []
