"""The report's table of the teacher's checkpoints."""

from dataclasses import replace

from distill.report import page, snapshots
from tests.helpers import made_up
from tests.helpers.html_tables import Page

FIRST, LAST = "snapshot 1", "as it is at the end"
ROWS = [
    {
        "snapshot": 1,
        "update": 100,
        "scores": {"em": 40.0, "f1": 50.25},
        "students": {"kd-early": 61.5, "dist-early": 60},
    },
    {"snapshot": None, "update": 1200, "scores": {"em": 70.0, "f1": 80.0}, "students": {}},
]


def test_each_checkpoint_has_its_score_and_its_students():
    results = made_up.results("qa")
    assert snapshots.table(results) is None and "Snapshots of the teacher" not in page.html(results)
    found = Page(page.html(replace(results, analysis={**results.analysis, "snapshots": ROWS})))
    assert found.column("snapshots", "Update") == {FIRST: ("100", "100"), LAST: ("1,200", "1200")}
    assert found.column("snapshots", "F1, selection split")[FIRST] == ("50.25", "50.25")
    students = {name: text for name, (text, _) in found.column("snapshots", "Students of it alone").items()}
    assert students == {FIRST: "kd-early 61.50, dist-early 60.00", LAST: "–"}
