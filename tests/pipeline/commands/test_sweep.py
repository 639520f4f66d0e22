"""Sweeps and the search, on experiments that real DVC has run in a small project, its queue among them."""

import csv
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from subprocess import DEVNULL, CompletedProcess
from typing import NamedTuple

import pytest
import yaml

from distill.experiments import search
from pipeline.commands import experiments
from tests.helpers import micro

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(900)]

# A stage in place of the whole pipeline: its score is highest at ted.mse_alpha 1000 and distill.rate 0.
SCORE = """
import json, math, pathlib, yaml
params = yaml.safe_load(open("params.yaml"))
alpha, rate = float(params["ted"]["mse_alpha"]), float(params["distill"]["rate"])
if alpha < 0:
    raise SystemExit("mse_alpha is negative")
selection = 90 - (math.log10(alpha) - 3) ** 2 - abs(float(params["ted"]["kl_alpha"]) - 1) - rate
row = {"f1": 50 + rate, "f1_std": None, "selection_f1": selection, "selection_f1_std": None, "seeds": params["seeds"]}
names = params["methods"]
pathlib.Path("metrics").mkdir(exist_ok=True)
summary = {"teacher": {**row, "seeds": []}} | dict.fromkeys(names, row)
pathlib.Path("metrics/summary.json").write_text(json.dumps(summary))
"""
PARAMS = """
ted: {mse_alpha: 100, kl_alpha: 1}   # a comment
distill: {rate: 0.25}
methods: [kd, ted]
seeds: [1]
"""
DVC = """
stages:
  summarize:
    cmd: python score.py
    deps: [score.py]
    params: [ted, distill, methods, seeds]
    metrics:
      - metrics/summary.json:
          cache: false
"""


class Small:
    """A Git and DVC repository whose pipeline is `SCORE`, run and committed."""

    def __init__(self, repo: Path, python: Path):
        self.repo = repo
        self.env = {
            **micro.with_programs(python),
            "PYTHONPATH": f"{micro.ROOT}{os.pathsep}{micro.ROOT / 'src'}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        repo.mkdir()
        for name, text in {"score.py": SCORE, "params.yaml": PARAMS, "dvc.yaml": DVC}.items():
            (repo / name).write_text(text.lstrip())
        for name in (".dvc/config", ".dvc/.gitignore"):
            (repo / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(micro.ROOT / name, repo / name)
        self.run("git", "init", "-q")
        self.run("dvc", "repro", "-q")
        self.commit()

    def run(self, *words: str, check: bool = True) -> CompletedProcess[str]:
        return micro.run(self.repo, *words, env=self.env, check=check)

    def command(self, name: str, *words: str, check: bool = True) -> CompletedProcess[str]:
        return self.run("python", "-m", f"pipeline.commands.{name}", *words, check=check)

    def commit(self) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "run")

    def ref(self, experiment: str) -> str:
        """The Git reference of an experiment."""
        refs = self.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
        return next(ref for ref in refs if ref.endswith(f"/{experiment}"))

    def show(self, revision: str, path: str = "metrics/summary.json") -> dict:
        """The content of a file of Git's."""
        return yaml.safe_load(self.run("git", "show", f"{revision}:{path}").stdout)

    def params(self) -> dict:
        return yaml.safe_load((self.repo / "params.yaml").read_text())

    def table(self, name: str) -> list[dict[str, str]]:
        return list(csv.DictReader((self.repo / "metrics" / "sweeps" / f"{name}.csv").open()))


class Queued(NamedTuple):
    """What DVC's queue has run in a project, and the sweep's output while the queue ran a fourth, and after that."""

    project: Small
    meanwhile: str
    afterwards: str


@pytest.fixture(scope="module")
def queued(tmp_path_factory, python) -> Queued:
    """Three experiments, as docs/sweeps.md makes them, and a fourth with other code, which waits for a file."""
    small, go_on = Small(tmp_path_factory.mktemp("small") / "repo", python), tmp_path_factory.mktemp("wait") / "go_on"
    small.run("dvc", "exp", "run", "--queue", "--name", "weight", "-S", "ted.mse_alpha=500,1500,1e4")
    waiting = f"import pathlib, time\nwhile not pathlib.Path({str(go_on)!r}).exists():\n    time.sleep(0.1)\n"
    (small.repo / "score.py").write_text(waiting + SCORE)
    small.run("dvc", "exp", "run", "--queue", "--name", "waits", "-S", "ted.mse_alpha=700")
    small.run("git", "checkout", "-q", "score.py")
    # Its worker inherits the output, and whoever captures that waits for the worker.
    start, environment = ("dvc", "queue", "start"), micro.environment(**small.env)
    subprocess.run(start, cwd=small.repo, env=environment, check=True, stdout=DEVNULL, stderr=DEVNULL)
    try:
        while not re.search(r"waits .*Running", status := small.run("dvc", "queue", "status").stdout):
            assert "Failed" not in status
            time.sleep(0.5)
        meanwhile = small.command("sweep", "ted.mse_alpha").stdout
    finally:
        go_on.touch()
    while re.search(r"\b(Queued|Running)\b", status := small.run("dvc", "queue", "status").stdout):
        time.sleep(0.5)
    assert "Failed" not in status
    afterwards = small.command("sweep", "ted.mse_alpha").stdout
    small.run("dvc", "exp", "remove", "waits")
    return Queued(small, meanwhile, afterwards)


@pytest.fixture
def small(queued) -> Small:
    """The project with the three experiments. Tests leave the workspace as it was."""
    return queued.project


@pytest.fixture
def optuna():
    """An extra: the tests that need it say so where it is not installed."""
    return pytest.importorskip("optuna")


def cells(output: str) -> list[list[str]]:
    """The rows of a table."""
    rows = [line for line in output.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows[1:]]


def test_the_queue_s_experiments_are_a_table_by_value_with_the_best_marked(small):
    output = small.command("sweep", "ted.mse_alpha").stdout
    assert [row for row in cells(output) if row[4].startswith(("last", "weight"))] == [
        ["100", "88.75", "50.25", "1", "last commit", ""],
        ["500", "89.66", "50.25", "1", "weight-1", ""],
        ["1500", "89.72", "50.25", "1", "weight-2", "best"],
        ["10000.0", "88.75", "50.25", "1", "weight-3", ""],
    ]
    assert "One seed:" in output and "wrote metrics/sweeps/ted.mse_alpha.csv" in output
    for row in small.table("ted.mse_alpha"):
        kept = small.show("HEAD" if row["experiment"] == "last commit" else small.ref(row["experiment"]))
        assert float(row["selection_score"]) == float(row["selection_f1"]) == kept["ted"]["selection_f1"]
        assert float(row["score"]) == float(row["f1"]) == kept["ted"]["f1"] and row["model"] == "ted"


def test_experiments_are_read_while_the_queue_runs_another(queued):
    assert {row[4] for row in cells(queued.meanwhile)} == {"weight-1", "weight-2", "weight-3", "last commit"}
    assert "left out: waits: differs in score.py too" in queued.afterwards


def test_a_folder_without_repository_or_commit_is_one_line(tmp_path):
    for reason in ("is not a git repository", "unknown Git revision 'HEAD'"):
        path = f"{micro.ROOT}:{micro.ROOT / 'src'}"
        words = ("python", "-m", "pipeline.commands.sweep", "ted.mse_alpha")
        done = micro.run(tmp_path, *words, env={"PYTHONPATH": path}, check=False)
        assert done.returncode == 2 and reason in done.stderr and len(done.stderr.splitlines()) == 1
        assert "run from the root of a repository with a commit" in done.stderr
        micro.run(tmp_path, "git", "init", "-q")


def test_what_differs_elsewhere_is_left_out_by_name(small):
    small.run("dvc", "exp", "run", "--temp", "-n", "both", "-S", "ted.mse_alpha=300", "-S", "ted.kl_alpha=2")
    (small.repo / "score.py").write_text(SCORE + "# edited\n")
    small.run("dvc", "exp", "run", "--temp", "-n", "code", "-S", "ted.mse_alpha=400")
    small.run("git", "checkout", "-q", "score.py")
    one = small.command("sweep", "ted.mse_alpha").stdout
    assert "left out: both: differs in ted.kl_alpha too" in one and "left out: code: differs in score.py too" in one
    two = small.command("sweep", "ted.mse_alpha", "ted.kl_alpha").stdout
    assert ["300", "2", "88.48", "50.25", "1", "both", ""] in cells(two) and "left out: both" not in two
    assert {"both", "weight-1"} < {row["experiment"] for row in small.table("ted.mse_alpha+ted.kl_alpha")}
    small.run("dvc", "exp", "remove", "both", "code")


def test_the_best_is_applied_and_the_pipeline_has_nothing_left_to_do(small):
    output = small.command("sweep", "ted.mse_alpha", "--apply").stdout
    assert "applied weight-2: ted.mse_alpha = 1500." in output and "git add params.yaml dvc.lock metrics" in output
    assert small.params()["ted"] == {"mse_alpha": 1500, "kl_alpha": 1}
    assert json.loads((small.repo / "metrics" / "summary.json").read_text()) == small.show(small.ref("weight-2"))
    assert "up to date" in small.run("dvc", "repro").stdout and small.table("ted.mse_alpha")
    small.run("git", "checkout", "-q", ".")


@pytest.mark.usefixtures("optuna")
def test_a_search_counts_what_is_there_and_goes_on_where_it_ended(small):
    words = ["ted", "--space", "ted.mse_alpha=log:200:20000", "--seed", "3", "--trials"]
    known = [((500,), "weight-1"), ((1500,), "weight-2"), ((1e4,), "weight-3")]
    for trials in (4, 5):
        output = small.command("tune", *words, str(trials)).stdout
        assert f"{trials - 1} of {trials} trials are there" in output
        scored = [(values, small.show(small.ref(name))["ted"]["selection_f1"]) for values, name in known]
        values = search.propose([search.parse(words[2])], scored, 3)
        known.append((values, name := f"tune-ted-{trials - 3}"))
        line = next(line for line in output.splitlines() if line.startswith(f"{name}: ted.mse_alpha = {values[0]}"))
        assert re.search(r": selection_f1 \d+\.\d\d$", line) and "Running stage" not in output
    again = small.command("tune", *words, "5").stdout
    assert "5 of 5 trials are there" in again and "Reproducing" not in again
    best = max(known, key=lambda found: small.show(small.ref(found[1]))["ted"]["selection_f1"])[1]
    assert f"best: {best}. To take it: dvc exp apply {best}" in again
    assert small.params() == yaml.safe_load(PARAMS)


@pytest.mark.usefixtures("optuna")
def test_a_parameter_of_all_methods_is_searched_with_one_of_them_and_applied_with_all(small):
    output = small.command("tune", "ted", "--space", "distill.rate=choice:0.0,0.125", "--trials", "1").stdout
    name = re.search(r"^(tune-ted-\d+): distill", output, re.MULTILINE)[1]
    assert small.show(small.ref(name), "params.yaml")["methods"] == ["ted"]
    value = small.show(small.ref(name), "params.yaml")["distill"]["rate"]
    command = f"dvc exp run -S distill.rate={value}"
    assert f"best: {name}. To take it: {command}" in output
    applied = small.command("sweep", "distill.rate", "--model", "ted", "--apply").stdout
    assert f"not applied: {name} ran without the other methods. With them: {command}" in applied
    assert small.table("distill.rate@ted") and small.params() == yaml.safe_load(PARAMS)


@pytest.mark.usefixtures("optuna")
@pytest.mark.parametrize("verbose", [False, True])
def test_a_failed_trial_is_told_with_dvc_s_error(small, verbose):
    words = ("tune", "ted", "--space", "ted.mse_alpha=choice:-1,-2", "--trials", "1")
    done = small.command(*words, "--verbose" if verbose else "--seed=1")
    assert ("Running stage" in done.stdout.partition("failed (")[0]) == verbose
    assert re.search(r"failed \(dvc ended with \d+\)", done.stdout)
    assert "mse_alpha is negative" in done.stdout + done.stderr
    assert "failed to reproduce 'summarize'" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep", "ted.mse_alpa"], "no such parameter: did you mean ted.mse_alpha?"),
        (["sweep", "distill.rate"], "name the model whose scores to compare, e.g. --model"),
        (["sweep", "ted.kl_alpha"], "no experiment on the last commit changes ted.kl_alpha alone. Run some first: dvc"),
        (["tune", "lwd", "--trials", "1", "--space", "lwd.x=int:1:2"], "lwd: not among the methods of params.yaml"),
        (["tune", "ted", "--trials", "1", "--space", "ted.x=int:1:2"], "ted.x: no such parameter"),
        (["tune", "ted", "--trials", "1", "--space", "ted.x=int:2:1"], "from 2 to 1: int needs the lower number first"),
    ],
)
def test_what_the_user_can_mend_is_one_line(small, words, message):
    if words[0] == "tune":
        pytest.importorskip("optuna")
    done = small.command(*words, check=False)
    assert done.returncode == 2 and message in done.stderr.splitlines()[-1]


@pytest.mark.usefixtures("optuna")
def test_a_search_refuses_to_take_changes_along(small):
    (small.repo / "score.py").write_text(SCORE + "# edited\n")
    done = small.command("tune", "ted", "--trials", "9", "--space", "ted.mse_alpha=log:1:2", check=False)
    small.run("git", "checkout", "-q", "score.py")
    assert done.returncode == 2 and done.stderr.startswith("error: score.py: changed since the last commit")


def test_results_of_other_parameters_than_the_committed_ones_are_no_baseline(small, tmp_path, monkeypatch):
    """Somebody edits params.yaml and commits it without running the pipeline."""
    copy = shutil.copytree(small.repo, tmp_path / "copy", ignore=shutil.ignore_patterns("tmp", "cache"))
    monkeypatch.chdir(copy)
    assert experiments.baseline().problem == ""
    (copy / "params.yaml").write_text(PARAMS.replace("mse_alpha: 100", "mse_alpha: 7"))
    micro.run(copy, "git", "commit", "-qam", "edit")
    assert experiments.baseline().problem == "the committed results were made with another ted.mse_alpha"
