"""A local metric runs through evaluate and summarize: its scores stand in the runs, the summary and the report."""

import csv
import json
from statistics import fmean, stdev

import pytest

from tests.helpers import metric_scripts, micro
from tests.helpers.html_tables import Page

pytestmark = pytest.mark.slow

SENTENCES = {"task": "classification", "data.embedded": "sentences", "methods": ["ft"], "seeds": [1, 2]}
MODELS = {"teacher": ["teacher"], "student": ["student"], "ft": ["ft-1", "ft-2"]}


@pytest.fixture(scope="module")
def scored(stages, tmp_path_factory):
    """A run with a metric in extra_metrics/, evaluated."""
    repo = micro.repo(tmp_path_factory.mktemp("extra") / "repo", SENTENCES | {"cost.batch_sizes": [1]})
    name = metric_scripts.write(repo)
    extra = [{"name": name, "args": {"scale": 100.0}}]
    (repo / "params.yaml").write_text(micro.params(SENTENCES | {"cost.batch_sizes": [1], "evaluate.extra": extra}))
    # Nothing that ft needs: they leave empty outputs, which signals depends on.
    empty = (("train_filters", "teacher"), ("train_filters", "student"), ("train_assistants",), ("train_generator",))
    empty += (("retrieve",), ("augment",))
    students = (("distill", "ft", "1"), ("distill", "ft", "2"))
    models = (("student",), ("ft", "1"), ("ft", "2"))
    scored = (*(("evaluate", *model) for model in models), ("evaluate_teacher",), ("cost",), ("summarize",))
    stages.run_all(repo, (*micro.TAUGHT, *empty, ("signals",), *students, *scored))
    return repo


def runs(repo):
    labels = [label for group in MODELS.values() for label in group]
    return {label: json.loads((repo / f"metrics/runs/{label}.json").read_text()) for label in labels}


def test_scores_stand_in_each_run_after_the_tasks_own(scored):
    for run in runs(scored).values():
        assert list(run)[-2:] == ["overlap_share", "overlap_rows"]
        assert run["overlap_share"] == pytest.approx(run["accuracy"])
        assert run["overlap_rows"] == run["examples"] == 60


def test_means_and_deviations_stand_in_the_summary(scored):
    each = runs(scored)
    summary = json.loads((scored / "metrics/summary.json").read_text())
    with (scored / "metrics/summary.csv").open(newline="") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    for name, labels in MODELS.items():
        shares = [each[label]["overlap_share"] for label in labels]
        assert summary[name]["overlap_share"] == pytest.approx(fmean(shares))
        assert summary[name]["overlap_share_std"] == (pytest.approx(stdev(shares)) if len(shares) > 1 else None)
        assert float(rows[name]["overlap_share"]) == summary[name]["overlap_share"]


def test_the_reports_table_has_a_column_for_each(scored):
    head, *rows = Page((scored / "metrics/report.html").read_text(encoding="utf-8")).tables["comparison"]
    column = next(i for i, cell in enumerate(head) if "Overlap share" in cell[0])
    each = runs(scored)
    shown = {row[0][0]: row[column][0] for row in rows}
    assert shown["teacher"] == f"{each['teacher']['overlap_share']:.2f}"
    assert "±" in shown["ft"]
    assert "Overlap share" in (scored / "metrics/report.md").read_text(encoding="utf-8")
