"""The tables behind DVC's plots."""

import pytest

from distill.report import plot_data
from tests.helpers import made_up


@pytest.mark.parametrize("task", made_up.MAIN)
def test_the_numbers_are_those_of_the_metrics(task):
    results = made_up.results(task)
    found = plot_data.tables(results)
    assert {name: list(table.columns) for name, table in found.items()} == plot_data.COLUMNS
    scores = found["scores"].set_index("model")
    assert list(scores.index) == list(results.summary)
    for name, row in results.summary.items():
        assert scores.loc[name, "score"] == row[results.metric]
    ted = results.summary["ted"]
    for column, what in (("difference", ""), ("low", "_low"), ("high", "_high")):
        assert scores.loc["ted", column] == ted[f"{results.metric}_vs_ft{what}"]
    assert scores.loc["ft"].isna()["difference"]
    assert list(found["filters"]["layer"]) == [2, 4, 1, 2]


def test_students_have_the_students_cost():
    cost = plot_data.tables(made_up.results())["cost"].set_index("model")
    assert cost.loc["teacher", "parameters"] == 66_000_000 and set(cost.loc[["ft", "kd", "ted"], "parameters"]) == {
        16_500_000
    }
    assert cost.loc["kd", "train_seconds"] == pytest.approx(95.8 * 1.2)


def test_empty_bins_are_no_points():
    table = plot_data.tables(made_up.results())["reliability"]
    assert len(table[table["series"] == "kd, before"]) == 9 and len(table[table["series"] == "kd, after"]) == 10


def test_slices_have_a_row_per_group_and_model():
    results = made_up.results()
    groups = sum(len(part["groups"]) for part in results.analysis["slices"])
    assert len(plot_data.tables(results)["slices"]) == groups * len(results.summary)


def test_what_is_not_there_has_no_rows():
    results = made_up.results(cost={}, training={}, filters={}, analysis={})
    assert [name for name, table in plot_data.tables(results).items() if len(table)] == ["scores"]
