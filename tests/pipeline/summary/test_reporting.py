"""The report as stage summarize writes it, and as the command makes it again."""

import csv
import json
import subprocess
from types import SimpleNamespace

import pytest

from distill.errors import UserError
from distill.report import plot_data
from pipeline.commands import report as command
from pipeline.stage import paths
from pipeline.stage.definition import Definition
from pipeline.stage.stage import Stage
from pipeline.summary import reporting
from tests.helpers import made_up, micro
from tests.helpers.html_tables import Page

pytestmark = pytest.mark.usefixtures("undrawn")

LOCKED = "0123456789abcdef0123456789abcdef.dir"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A project in which everything but the report is made: its parameters and made-up results."""
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("DISTILL_TRACKING", "off")
    monkeypatch.chdir(tmp_path)
    seeds = [1, 2, 3]
    (tmp_path / "params.yaml").write_text(micro.params({"seeds": seeds}))
    (tmp_path / "dvc.lock").write_text(
        json.dumps({"schema": "2.0", "stages": {"prepare": {"outs": [{"path": "data/prepared", "md5": LOCKED}]}}})
    )
    record = {"stage": "evaluate_teacher", "device": "cpu, 2 cores", "versions": {"torch": "2.13.0"}, "seconds": 1.0}
    (tmp_path / "data" / "runs").mkdir(parents=True)
    (tmp_path / "data" / "runs" / "evaluate_teacher.json").write_text(json.dumps(record))
    results = made_up.results(methods=("ft", "kd", "lwd", "ted"), seeds=tuple(seeds))
    made_up.write(results, tmp_path)
    parts = {name: getattr(results, name) for name in ("summary", "analysis", "training", "disagreements", "confirm")}
    return SimpleNamespace(folder=tmp_path, results=results, parts=parts)


def written(run):
    """What `reporting.write` leaves, by a stage that has these outputs."""
    with Stage(Definition("summarize", outs=tuple(reporting.OUTPUTS))) as stage:
        reporting.write(stage, paths.params(), **run.parts)
    return Page(reporting.HTML.read_text(encoding="utf-8"))


def test_the_stage_writes_page_markdown_and_tables(run):
    found = written(run)
    assert [row[0][0] for row in found.tables["comparison"][1:]] == list(run.results.summary)
    assert reporting.MARKDOWN.read_text(encoding="utf-8").startswith("**")
    for name, columns in plot_data.COLUMNS.items():
        with reporting.TABLES[name].open(newline="") as file:
            head, *rows = csv.reader(file)
        assert head == columns and rows


def test_settings_versions_data_and_commands_are_told(run):
    found = written(run)
    assert all(text in found.text for text in ("cpu, 2 cores", "torch 2.13.0", f"md5 {LOCKED} (data/prepared)"))
    commands = found.column("commands", "Command")
    assert commands["teacher"][0] == "dvc repro evaluate_teacher"
    assert commands["ted"][0] == "dvc repro --glob 'evaluate@ted-*'"
    assert "ted.mse_alpha" in found.text and "annealing.tau_max" not in found.text


def test_one_seed_has_a_plain_command(run):
    params = paths.params().model_copy(update={"seeds": [1]})
    assert reporting._commands(params)["ted"] == "dvc repro evaluate@ted-1"


def test_the_commit_and_what_differs_from_it_are_told(run, monkeypatch):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "params.yaml"], ["commit", "-qm", "start"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert reporting._about(paths.params())["commit"] == head and "changes" not in reporting._about(paths.params())
    with open("params.yaml", "a") as file:
        file.write("\n")
    monkeypatch.setenv("DVC_EXP_NAME", "warm")
    about = reporting._about(paths.params())
    assert (about["changes"], about["experiment"]) == ("params.yaml", "warm")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "f" * 40)
    assert reporting._about(paths.params())["commit"] == "f" * 40
    assert "DVC experiment warm" in written(run).text


def test_files_of_methods_that_are_not_run_are_left_out(run):
    (run.folder / "metrics" / "curves" / "pkd-1.csv").write_text("step,loss\n1,2.0\n2,1.0\n")
    html = written(run) and reporting.HTML.read_text(encoding="utf-8")
    assert "picture-loss-ted" in html and "picture-loss-pkd" not in html


def test_the_command_makes_the_same_page_and_leaves_dvcs_alone(run, capsys):
    written(run)
    for name in ("summary", "analysis", "training"):
        (paths.METRICS / f"{name}.json").write_text(json.dumps(run.parts[name]))
    reporting.DISAGREEMENTS.write_text(json.dumps(run.parts["disagreements"]))
    before = reporting.HTML.read_bytes()
    sweeps = (paths.METRICS / "sweeps").rename(run.folder / "later")
    command.main([])
    assert command.PAGE.read_bytes() == before == reporting.HTML.read_bytes()
    assert capsys.readouterr().out.endswith(f"{command.PAGE}: 6 models\n")
    command.main(["--output", "elsewhere/page.html"])
    assert (run.folder / "elsewhere" / "page.html").read_bytes() == before
    sweeps.rename(paths.METRICS / "sweeps")
    command.main([])
    assert b"sweep-ted.mse_alpha" in command.PAGE.read_bytes() and b"sweep-ted.mse_alpha" not in before
    (paths.METRICS / "sweeps" / "kd.temperature.csv").touch()
    with pytest.raises(
        UserError, match=r"sweeps/kd.temperature.csv: .*: run `python -m pipeline.commands.sweep` again"
    ):
        command.main([])


def test_without_a_finished_run_the_command_says_what_to_do(run):
    with pytest.raises(UserError, match=r"metrics/summary.json: missing: run `dvc repro` first"):
        command.main([])
