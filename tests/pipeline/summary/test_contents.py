"""Damaged files in metrics/, data/runs/ and data/predictions/ cost one line in whatever reads them."""

import json

import pandas as pd
import pytest

from distill.analysis import example_table
from distill.errors import UserError
from distill.report import page
from pipeline import export, summarize
from pipeline.commands import report, table
from pipeline.process.records import record_file
from pipeline.stage import paths
from pipeline.summary import contents, reporting, spent
from tests.helpers import made_up, micro

pytestmark = pytest.mark.usefixtures("undrawn")

CONFLICT = "<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> theirs\n"
DAMAGES = {
    "empty": "",
    "cut off": '{"f1": 80.',
    "conflict": CONFLICT,
    "a list": "[]",
    "a text": '"f1"',
    "nothing": "null",
}
FILES = ["summary.json", "analysis.json", "training.json", "cost.json", "filters/teacher.json", "runs/ft-1.json"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with made-up results."""
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(micro.params({"methods": ["ft", "kd"], "seeds": [1, 2]}))
    results = made_up.results(methods=("ft", "kd"), seeds=(1, 2))
    made_up.write(results, tmp_path)
    for name in ("summary", "analysis", "training"):
        (tmp_path / "metrics" / f"{name}.json").write_text(json.dumps(getattr(results, name)))
    return tmp_path


def one_line(error: pytest.ExceptionInfo) -> str:
    line = str(error.value)
    assert "\n" not in line and len(line) < 400
    return line


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_the_report_names_a_damaged_file(project, name, damage):
    (project / "metrics" / name).write_text(DAMAGES[damage])
    with pytest.raises(UserError) as caught:
        report.main([])
    assert one_line(caught).startswith(f"metrics/{name}: ")


@pytest.mark.parametrize("damage", ["", '[{"row"', CONFLICT, "{}", "null", '[{"row": 1}]', '["a"]'])
def test_the_report_names_a_damaged_sample_of_changed_texts(project, damage):
    file = project / "data" / "samples" / "kd-1.json"
    file.parent.mkdir(parents=True)
    file.write_text(damage)
    with pytest.raises(UserError) as caught:
        report.main([])
    assert one_line(caught).startswith("data/samples/kd-1.json: ")
    file.write_text("[]\n")
    report.main([])
    assert "section-changed" not in report.PAGE.read_text(encoding="utf-8")


def test_the_report_has_the_changed_texts_of_the_first_seed(project):
    (project / "params.yaml").write_text(micro.params({"methods": ["ft", "mate"], "seeds": [1, 2]}))
    results = made_up.results("qa", methods=("ft", "mate"), seeds=(1, 2))
    made_up.write(results, project)
    found = reporting.gather(paths.params(), results.summary, results.analysis, results.training, {}, {})
    assert found.samples == results.samples


@pytest.mark.parametrize("damage", ["", CONFLICT, "a,b\n1,2\n", "step,loss\n1,x\n", "step,loss\n1,2,3\n", b"\xff\xfe"])
def test_the_report_names_damaged_curves(project, damage):
    file = project / "metrics" / "curves" / "kd-1.csv"
    file.write_bytes(damage if isinstance(damage, bytes) else damage.encode())
    with pytest.raises(UserError) as caught:
        report.main([])
    assert one_line(caught).startswith("metrics/curves/kd-1.csv: not the curves of a training")


def test_curves_without_rows_are_curves(project):
    (project / "metrics" / "curves" / "kd-1.csv").write_text("step,loss\n")
    assert contents.curves(project / "metrics" / "curves" / "kd-1.csv").empty


@pytest.mark.parametrize("damage", ["", CONFLICT, "- 1", "stages: 3", "stages: {prepare: {outs: [x]}}", "a: *b", "{"])
def test_a_damaged_lock_file_costs_the_report_no_more_than_the_hash(project, damage, monkeypatch):
    monkeypatch.setattr(page, "html", lambda *_: "")  # its pictures take a second
    (project / "dvc.lock").write_text(damage)
    report.main([])
    assert report.PAGE.is_file()


@pytest.mark.parametrize("damage", [*DAMAGES.values(), '{"stage": 3}', '{"stage": "x", "versions": ["torch"]}'])
def test_a_damaged_record_is_named(project, damage):
    params = paths.params()
    file = record_file("distill@kd-1")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(damage)
    for read in (lambda: spent.training_costs(params), lambda: reporting._about(params), lambda: table.tables(project)):
        with pytest.raises(UserError) as caught:
            read()
        assert "data/runs/distill-kd-1.json: " in one_line(caught) and "dvc checkout" in one_line(caught)


@pytest.mark.parametrize("damage", [*DAMAGES.values(), '{"f1": "x"}', "{}"])
def test_damaged_scores_are_named(project, damage):
    file = project / "metrics" / "runs" / "ft-1.json"
    file.write_text(damage)
    with pytest.raises(UserError) as caught:
        contents.scores(paths.METRICS / "runs" / "ft-1.json", "f1")
    assert one_line(caught).startswith("metrics/runs/ft-1.json: ") and "dvc repro" in one_line(caught)
    if damage != "{}":
        with pytest.raises(UserError, match="metrics/runs/ft-1.json"):
            export.scores("ft-1")


@pytest.mark.parametrize("damage", [*DAMAGES.values(), '{"a": 3}', '{"b": "yes"}'])
def test_damaged_answers_are_named(project, damage):
    file = project / "data" / "predictions" / "ft-1.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(damage)
    with pytest.raises(UserError) as caught:
        summarize._answers("ft-1", pd.DataFrame({"f1": [100.0]}, index=["a"]))
    assert one_line(caught).startswith("data/predictions/ft-1.json: ")
    file.write_text(json.dumps({"a": "yes"}))
    assert summarize._answers("ft-1", pd.DataFrame({"f1": [100.0]}, index=["a"])) == ["yes"]


@pytest.mark.parametrize(
    "damage",
    [
        "",
        CONFLICT,
        "id,f1\nx\n",
        "id,f1\nx,high\n",
        "id,f1\nx,\n",
        "<<<<<<< HEAD\nid,f1\nx,1\n",
        "id,f1\nx,1\n=======\n",
        b"\xff\xfeid",
    ],
)
def test_a_damaged_table_of_examples_is_named(project, damage):
    file = project / "ft-1.examples.csv"
    file.write_bytes(damage if isinstance(damage, bytes) else damage.encode())
    with pytest.raises(UserError) as caught:
        example_table.read(file)
    assert "ft-1.examples.csv: not a table of examples" in one_line(caught)


def test_a_table_of_other_columns_is_named():
    tables = {name: pd.DataFrame({name: [1.0]}, index=["x"]) for name in ("f1", "accuracy")}
    with pytest.raises(UserError, match="accuracy: has other columns than f1"):
        example_table.check_same(tables)


def test_a_damaged_summary_of_another_run_is_named(project):
    (project / "metrics" / "summary.json").write_text(CONFLICT)
    with pytest.raises(UserError, match="merge conflict"):
        table.tables(project)


@pytest.mark.parametrize("damage", ["", "[]", CONFLICT, '{"1": {"f1": 3}}', '{"1": {"update": "x"}}', '{"1": 2}'])
def test_damaged_scores_of_snapshots_are_named(tmp_path, damage):
    path = tmp_path / "snapshots.json"
    path.write_text(damage)
    with pytest.raises(UserError) as caught:
        contents.read(path, contents.SNAPSHOTS)
    assert "snapshots.json: " in one_line(caught)
