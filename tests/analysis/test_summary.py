"""Means and sample standard deviations over seeds."""

import csv
import math

import pytest

from distill.analysis.significance import Comparison, Difference
from distill.analysis.summary import add_comparison, summarize, weaker_teacher, write_csv

RUNS = {
    "teacher": {None: {"em": 80.0, "f1": 85.0, "questions": 7}},
    "ted": {
        1: {"em": 70.0, "f1": 75.5, "questions": 7},
        2: {"em": 73.0, "f1": 75.5, "questions": 7},
        5: {"em": 76.0, "f1": 78.5, "questions": 7, "only_here": 1.0},
    },
}


def test_means_and_sample_standard_deviations():
    row = summarize(RUNS)["ted"]
    assert row["em"] == pytest.approx(73) and row["em_std"] == pytest.approx(3)
    assert row["f1"] == pytest.approx((75.5 + 75.5 + 78.5) / 3)
    mean = (75.5 + 75.5 + 78.5) / 3
    deviation = math.sqrt((2 * (75.5 - mean) ** 2 + (78.5 - mean) ** 2) / 2)
    assert row["f1_std"] == pytest.approx(deviation)
    assert row["seeds"] == [1, 2, 5]


def test_counts_are_no_means_and_scores_that_a_run_lacks_are_left_out():
    row = summarize(RUNS)["ted"]
    assert row["questions"] == 7 and isinstance(row["questions"], int)
    assert "questions_std" not in row and "only_here" not in row


def test_a_single_run_has_no_spread():
    row = summarize(RUNS)["teacher"]
    assert (row["em"], row["em_std"], row["f1"], row["f1_std"]) == (80.0, None, 85.0, None)
    assert row["seeds"] == []


def test_models_stay_in_order():
    assert list(summarize(RUNS)) == ["teacher", "ted"]


def test_csv_has_a_row_per_model_and_empty_cells_where_there_is_no_number(tmp_path):
    write_csv(summarize(RUNS), "f1", tmp_path / "summary.csv")
    text = (tmp_path / "summary.csv").read_bytes()
    assert b"\r" not in text
    rows = list(csv.DictReader(text.decode().splitlines()))
    assert [row["model"] for row in rows] == ["teacher", "ted"]
    assert [float(row["score"]) for row in rows] == [float(row["f1"]) for row in rows]
    assert rows[0]["em_std"] == "" and rows[0]["seeds"] == ""
    assert float(rows[1]["em"]) == pytest.approx(73) and rows[1]["seeds"] == "1 2 5"


def compared(baseline, gap=(10.0, 40.0)):
    """kd against a baseline."""
    found = {"kd": Difference(2.5, 1.0, 4.0, 0.01)}
    return Comparison(baseline, found, {"kd": "better"}, {"kd": 1.75}, {"kd": gap})


def test_a_comparison_is_part_of_each_methods_row():
    by_seed = {"teacher": {None: {"f1": 90.0}}, "ft": {1: {"f1": 80.0}}, "kd": {1: {"f1": 82.5}}}
    table = summarize(by_seed)
    add_comparison(table, compared("ft"), "f1")
    plain = {"f1": 82.5, "f1_std": None, "seeds": [1]}
    versus = {"f1_vs_ft": 2.5, "f1_vs_ft_low": 1.0, "f1_vs_ft_high": 4.0, "f1_vs_ft_p": 0.01}
    assert table["kd"] == plain | versus | {
        "f1_vs_ft_detectable": 1.75,
        "gap_closed": 25.0,
        "gap_closed_low": 10.0,
        "gap_closed_high": 40.0,
        "verdict": "better",
    }
    assert table["ft"] == {"f1": 80.0, "f1_std": None, "seeds": [1]}
    add_comparison(table, compared("ft", gap=None), "f1")
    gap = [table["kd"][f"gap_closed{end}"] for end in ("", "_low", "_high")]
    assert gap == [25.0, None, None]
    table["teacher"]["f1"] = 79.0
    add_comparison(table, compared("ft"), "f1")
    assert [table["kd"][f"gap_closed{end}"] for end in ("", "_low", "_high")] == [None, None, None]


def test_a_further_baseline_has_its_name_in_every_field():
    table = summarize({"teacher": {None: {"f1": 90.0}}, "ted": {1: {"f1": 80.0}}, "kd": {1: {"f1": 82.5}}})
    add_comparison(table, compared("ted"), "f1", further=True)
    fields = {key for key in table["kd"] if key not in ("f1", "f1_std", "seeds")}
    assert fields == {f"f1_vs_ted{end}" for end in ("", "_low", "_high", "_p", "_detectable")} | {"verdict_vs_ted"}


@pytest.mark.parametrize(("teacher", "student", "warned"), [(80, 81, "worse"), (80, 80, "no better"), (81, 80, "")])
def test_a_teacher_not_above_its_student_is_told(teacher, student, warned):
    message = weaker_teacher({"teacher": {"f1": teacher}, "student": {"f1": student}}, "f1")
    assert bool(message) == bool(warned)
    if warned:
        assert f"(f1 {teacher:.2f}) is {warned} than the fine-tuned student ({student:.2f})" in message
        assert "\n" not in message
    assert weaker_teacher({"teacher": {"f1": 1}, "student": {"f1": 2}}, "accuracy") is None
