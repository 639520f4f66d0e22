"""Against ft at the method's own time, in the report's table and in its first sentences."""

from dataclasses import replace

from distill.report import controls, page
from distill.report.verdict import sentences
from tests.helpers import made_up
from tests.helpers.html_tables import Page

ROW = {
    "method": "ted",
    "time": "own",
    "control": "ft-own-ted",
    "updates": 2138.0,
    "score": 89.5,
    "control_score": 88.25,
}
ROW |= {"difference": 1.25, "low": -0.5, "high": 3.0, "p": 0.125, "verdict": "cannot tell"}


def with_controls(*rows):
    results = made_up.results(methods=("ft", "ted"))
    return replace(results, analysis={**results.analysis, "controls": list(rows)})


def test_a_row_has_both_scores_and_the_verdict_at_equal_time():
    html = Page(page.html(with_controls(ROW)))
    columns = {
        title: html.column("controls", title)["ted"][0] for title in ("ft: updates", "Difference", "p", "Verdict")
    }
    assert columns == {"ft: updates": "2,138", "Difference": "+1.25", "p": "0.125", "Verdict": "cannot tell"}
    assert controls.table(with_controls()) is None and controls.table(made_up.results()) is None


def test_the_chosen_method_is_told_of_right_after_the_decision():
    total = ROW | {"time": "total", "difference": -2.0, "low": -3.0, "high": -1.0, "verdict": "worse"}
    text = sentences(with_controls(ROW, total, ROW | {"method": "kd"}))[1][0]
    assert text == (
        "At equal training time, ted is 1.25 points above ft in F1 (cannot tell, [−0.50, +3.00])."
        " At equal training time with upstream, ted is 2.00 points below ft in F1 (worse, [−3.00, −1.00])."
    )
