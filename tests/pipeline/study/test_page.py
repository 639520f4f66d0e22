"""The tables of a study from figures of known differences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.experiments import study
from pipeline.study import page
from pipeline.study.figures import Figures
from tests.helpers import studied


def test_the_cheapest_arm_near_the_best_is_recommended(tmp_path: Path) -> None:
    figures = studied.figures(tmp_path, studied.plan())
    # kd is 0.2 points below ted, and half the price.
    assert page.recommendation(figures).startswith("Recommended: **kd**")
    assert "the best one, ted" in page.recommendation(figures)
    strict = Figures(studied.plan(margin=0.1), tmp_path)
    assert page.recommendation(strict).startswith("Recommended: **ted**")


def test_the_mean_is_named_by_its_tasks_and_drawn(tmp_path: Path) -> None:
    figures = studied.figures(tmp_path, studied.plan())
    assert "### Mean over a, b\n" in page.text(figures)
    assert "ted +1.70 at 2.00×" in page.picture(figures)


def test_the_confirmation_ends_with_the_best_arm_at_equal_time(tmp_path: Path) -> None:
    figures = studied.figures(tmp_path, studied.plan())
    folder = tmp_path / "b" / study.CONFIRM
    scores = {"ft": 70.0, "kd-tuned": 70.5, "ted-tuned": 71.0, "mate-tuned": 70.0, "ft-longer": 70.75}
    rows = {name: {"accuracy": value, "accuracy_std": 0.5, "seeds": [101, 102]} for name, value in scores.items()}
    sure = studied.row(0.25) | {"low": 0.1, "high": 0.4, "p": 0.01}
    against = {
        "ft": {name: studied.row(value - 70.0) for name, value in scores.items() if name != "ft"},
        "kd-tuned": {name: studied.row(value - 70.5) for name, value in scores.items() if name != "kd-tuned"},
        "ft-longer": {"ft": studied.row(-0.75), "ted-tuned": sure},
    }
    studied.write(folder / "phase.json", {"confirmed": ["ted", "mate"], "updates": 1400})
    studied.write(folder / "metrics/summary.json", rows)
    studied.write(folder / "differences.json", {"metric": "accuracy", "against": against})
    text = page.text(figures).partition("### b: confirmation on fresh seeds\n")[2]
    assert "| ft, 1,400 updates | 70.75 ± 0.50 | +0.75 | [−0.25, +1.75] | +0.25 |" in text
    assert "ted against ft of 1,400 updates, whose training takes as long: +0.25 ([+0.10, +0.40]), better." in text


def test_costs_have_the_least_and_the_greatest_of_several_rounds(tmp_path: Path) -> None:
    figures = studied.figures(tmp_path, studied.plan())
    assert "of one run of each arm" in page.text(figures)
    for arm, seconds in (("ft", 12.0), ("ted", 30.0)):
        studied.trained(tmp_path / "a" / study.TIME, arm, 2, seconds)
    table = page.text(figures).partition("### a: screening")[2].partition("### b")[0]
    (row,) = [line for line in table.splitlines() if line.startswith("| ted |")]
    assert row.endswith("| 2.25× (2.00 to 2.50) |") and "of one run of each arm" not in table


def test_without_times_there_is_no_recommendation_and_no_picture(tmp_path: Path) -> None:
    figures = studied.figures(tmp_path, studied.plan(), timed=False)
    assert "their costs are not taken yet" in page.recommendation(figures)
    assert page.picture(figures) is None


def test_verdicts_are_holms_over_the_arms(tmp_path: Path) -> None:
    means = page.text(studied.figures(tmp_path, studied.plan())).partition("### a: screening")[0]
    lines = {line.split(" | ")[0]: line for line in means.splitlines()}
    first = {name: lines[f"| {name}"].split(" | ") for name in studied.SECONDS}
    assert first["ted"][3] == "better"
    assert first["mate"][3] == "worse"
    assert first["ft"][1:4] == ["", "", ""]


def test_a_pair_of_arms_has_one_interval(tmp_path: Path) -> None:
    """kd against ft stands in the first columns; ft against kd, pooled over other differences, would be another one."""
    text = page.text(studied.figures(tmp_path, studied.plan()))
    for table in (text.partition("### a: screening")[0], text.partition("### a: screening")[2].partition("###")[0]):
        rows = {line.split(" | ")[0]: line.split(" | ") for line in table.splitlines() if line.startswith("| ")}
        assert not any("[" in cell for cell in rows["| ft"])
        assert sum("[" in cell for cell in rows["| kd"]) == 1 and sum("[" in cell for cell in rows["| ted"]) == 2


def test_arms_whose_seeds_differ_much_more_than_others_are_told(tmp_path: Path) -> None:
    figures = studied.figures(tmp_path, studied.plan())
    path = tmp_path / "a" / study.SCREEN / "metrics/summary.json"
    rows = json.loads(path.read_text())
    for name, row in rows.items():
        row["accuracy_std"] = 4.1 if name == "mate-tuned" else 1.0
    studied.write(path, rows)
    text = page.text(figures)
    told = "Seeds of mate differ more than 2 times as much as those of the arm in the middle (± 1.00)."
    assert text.count(told) == 1 and told in text.partition("### a: screening")[2].partition("### b")[0]
    assert "too wide for the calm arms and too narrow for mate.\n" in text
    # The baseline is in every difference to it, and so in the variance that they share.
    rows["ft"]["accuracy_std"], rows["mate-tuned"]["accuracy_std"] = 4.1, 1.0
    studied.write(path, rows)
    text = page.text(figures)
    assert "Seeds of ft differ" in text and "too narrow" not in text
    assert "The scatter of ft (± 4.10) is part of every difference to it, and of its interval" in text


def test_the_correction_counts_a_comparison_that_is_not_shown(tmp_path: Path) -> None:
    """The plan has as many comparisons in both columns; against kd ft's row is empty."""
    figures = studied.figures(tmp_path, studied.plan())
    seen = []
    verdicts = page._verdicts
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "_verdicts", lambda means: seen.append(list(means)) or verdicts(means))
        page.text(figures)
    assert seen == [["kd", "ted", "mate"], ["ft", "ted", "mate"]]


def test_before_the_first_screening_it_says_how_far_it_is(tmp_path: Path) -> None:
    studied.write(tmp_path / "a" / study.TUNE / "phase.json", {})
    for arm in ("teacher", "ft", "kd"):
        for phase in (study.TUNE, study.CONFIRM):
            studied.write(tmp_path / "b" / phase / "arms" / f"{arm}.json", {})
    lines = page.text(Figures(studied.plan(), tmp_path)).splitlines()
    assert lines[0] == "### How far it is"
    assert lines[-3:] == ["| a | done |  |  |  |", "| b | 2 of 4 arms |  |  | 2 arms |", "| c |  |  |  |  |"]
    (tmp_path / "b" / study.CONFIRM / "arms" / "kd.json").unlink()
    assert "| b | 2 of 4 arms |  |  | 1 arm |" in page.text(Figures(studied.plan(), tmp_path))


def test_what_comes_before_the_students_stands_beside_one_of_the_baseline(tmp_path: Path) -> None:
    figures = studied.figures(tmp_path, studied.plan())
    studied.write(tmp_path / "b" / study.SCREEN / "data/runs/retrieve.json", {"seconds": 1234.5})
    studied.write(tmp_path / "c" / study.SCREEN / "data/runs/retrieve.json", {"seconds": 9.0, "resumed": True})
    lines = page.text(figures).partition("### Before the students\n")[2].splitlines()
    start = lines.index("| stage | a | b | c |")
    assert lines[start + 2 : start + 4] == ["| retrieve | – | 1,234 | – |", "| distill, ft | 999 | 999 | 999 |"]


def test_teachers_of_several_machines_are_told(tmp_path: Path) -> None:
    figures = studied.figures(tmp_path, studied.plan())
    for arm, teacher in (("ft", "abc"), ("kd", "abc"), ("teacher", None)):
        studied.write(tmp_path / "a" / study.SCREEN / "arms" / f"{arm}.json", {"teacher": teacher})
    assert "teachers, trained alike" not in page.text(figures)
    studied.write(tmp_path / "a" / study.SCREEN / "arms" / "ted.json", {"teacher": "other"})
    assert page.text(figures).count("learned from 2 teachers, trained alike") == 1


def test_how_far_it_is_is_not_said_of_a_finished_study(tmp_path: Path) -> None:
    for task in "abc":
        for phase in study.PHASES:
            studied.write(tmp_path / task / phase / "phase.json", {})
    assert page._progress(Figures(studied.plan(), tmp_path)) == []
