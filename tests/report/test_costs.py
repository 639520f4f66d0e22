"""What each method costs, beside its score: multiples of the baseline's labels and time, and passes."""

from dataclasses import replace

from distill.report import page, tables
from tests.helpers import made_up
from tests.helpers.html_tables import Page

COLUMNS = ["Labelled rows", "Student passes", "Teacher passes", "Training time", "With upstream"]


def test_costs_stand_beside_the_scores():
    results = made_up.results(methods=("ft", "kd"))
    training = dict(results.training)
    training["ft"] |= {"seconds": 100.0, "total_seconds": 100.0, "labelled_rows": 320.0}
    training["kd"] |= {"seconds": 150.0, "total_seconds": 450.0, "labelled_rows": 96.0, "student_passes": 2.2}
    html = Page(page.html(replace(results, training=training)))
    shown = {title: html.column("comparison", title) for title in COLUMNS}
    assert {title: shown[title]["kd"][0] for title in COLUMNS} == {
        "Labelled rows": "0.30×",
        "Student passes": "2.2",
        "Teacher passes": "0.0",
        "Training time": "1.50×",
        "With upstream": "4.50×",
    }
    assert {title: shown[title]["ft"][0] for title in ("Labelled rows", "Training time")} == {
        "Labelled rows": "1.00×",
        "Training time": "1.00×",
    }
    assert shown["Training time"]["teacher"][0] == shown["With upstream"]["student"][0] == "–"


def test_a_column_that_nothing_fills_is_left_out():
    """Records of interrupted runs know no time."""
    results = made_up.results()
    unknown = {name: row | {"seconds": None, "total_seconds": None} for name, row in results.training.items()}
    titles = {title for title, _ in tables.comparison(replace(results, training=unknown)).columns}
    assert titles & set(COLUMNS) == {"Labelled rows", "Student passes", "Teacher passes"}
    assert not {title for title, _ in tables.comparison(replace(results, training={})).columns} & set(COLUMNS)


def test_trainings_that_patience_ended_are_counted_and_the_comparison_says_so():
    results = made_up.results(methods=("ft", "kd"))
    assert "as many updates;" in " ".join(page.notes(results))
    assert "Ended early" not in {title for title, _ in tables.training(results).columns}
    training = dict(results.training) | {"kd": results.training["kd"] | {"stopped_early": 2, "updates": 70}}
    ended = replace(results, training=training)
    line = next(line for line in page.notes(ended) if line.startswith("Differences"))
    assert "at most as many updates, of which patience has ended trainings of kd early" in line
    html = Page(page.html(ended))
    assert (
        html.column("training", "Ended early")["kd"][0] == "2" and html.column("training", "Updates")["kd"][0] == "70"
    )


def test_rows_of_a_transfer_set_are_counted_beside_the_labelled_ones():
    results = made_up.results(methods=("ft", "kd"))
    training = dict(results.training) | {"kd": results.training["kd"] | {"unlabelled_rows": 4800.0}}
    shown = Page(page.html(replace(results, training=training))).column("training", "Unlabelled rows")
    assert (shown["kd"][0], shown["ft"][0]) == ("4,800", "–")
    assert "Unlabelled rows" not in {title for title, _ in tables.training(results).columns}
