"""The section on classes."""

from dataclasses import replace

import pytest

from distill.report import classes, page
from tests.helpers import made_up
from tests.helpers.html_tables import Page


@pytest.fixture(scope="module")
def results():
    """A run without the pictures that take the time."""
    nothing = {name: {} for name in ("curves", "filters", "sweeps", "cost", "samples")}
    return made_up.results("classification", methods=("ft", "kd", "ted"), **nothing)


@pytest.fixture(scope="module")
def html(results):
    return page.html(results)


def test_models_have_a_row_with_what_tuning_gains(results, html):
    found = results.analysis["classes"]["models"]["kd"]
    titles = [title for title, _ in classes.overall(results).columns]
    assert titles == ["Model", *["Macro F1"] * 2, "Gain", *["Recall of negative"] * 2, "Gain", "Threshold"]
    row = next(row for row in classes.overall(results).rows if row[0].text == "kd")
    gain = found["tuned_macro_f1"] - found["macro_f1"]
    assert [row[place].value for place in (1, 2, 3, 7)] == [found["macro_f1"], found["tuned_macro_f1"], gain, 0.25]
    assert Page(html).column("classes", "Threshold")["teacher"][0] == "0.250"


def test_each_class_has_a_table_the_rarest_stands_open(results, html):
    tables = classes.each(results)
    assert [table.caption for table in tables] == [
        "negative: 400 train, 20 selection, 40 validation rows",
        "positive: 3,600 train, 180 selection, 360 validation rows",
    ]
    assert [title for title, _ in tables[0].columns] == ["Model", *["Recall"] * 2, *["Precision"] * 2, *["F1"] * 2]
    scores = results.analysis["classes"]["classes"][0]["scores"]["ted"]
    row = next(row for row in tables[0].rows if row[0].text == "ted")
    assert row[2].value == scores["tuned_recall"] and row[5].value == scores["f1"]
    assert html.index('id="class-0"') < html.index("Further classes, the rarest first (1)") < html.index('id="class-1"')
    assert "The rarest class of the validation split is negative, with 400 of 4,000 training rows." in html


def test_nothing_is_said_of_tuning_where_nothing_was_tuned(results):
    found = results.analysis["classes"]
    models = {name: {"macro_f1": row["macro_f1"]} for name, row in found["models"].items()}
    untuned = replace(results, analysis=dict(results.analysis) | {"classes": found | {"models": models}})
    assert "Tuned" not in classes.note(untuned)
    assert [title for title, _ in classes.overall(untuned).columns] == ["Model", "Macro F1"]


def test_tasks_without_classes_have_no_such_section():
    numbers = made_up.results("regression", methods=("ft",))
    assert classes.overall(numbers) is None and classes.each(numbers) == [] and classes.note(numbers) == ""


def test_classes_of_several_labels_have_average_precision_and_thresholds(results):
    found = results.analysis["classes"]
    further = {"average_precision": 71.25, "tuned_threshold": 0.2}
    parts = [
        part | {"scores": {name: row | further for name, row in part["scores"].items()}} for part in found["classes"]
    ]
    several = replace(results, analysis=results.analysis | {"classes": found | {"classes": parts, "several": True}})
    table = classes.each(several)[0]
    assert table.columns[-2:] == [("Average precision", ""), ("Threshold", "tuned")]
    assert [cell.text for cell in table.rows[0][-2:]] == ["71.25", "0.200"]
    assert "for each class the threshold with its highest F1" in classes.note(several)
