"""What an experiment costs, measured in a project of shell commands with the names of the real stages."""

from pathlib import Path

import pytest
import yaml

from benchmarks import experiment
from tests.helpers import micro

DVC_YAML = """\
stages:
  inputs:
    cmd: mkdir -p data && echo 1 > data/inputs
    always_changed: true
    outs:
      - data/inputs: {cache: false}
  finetune_student:
    cmd: mkdir -p data && echo 1 > data/student
    params: [student]
    outs: [data/student]
  distill:
    matrix: {method: "${methods}", seed: "${seeds}"}
    cmd: mkdir -p data && sleep 1 && echo 1 > data/${item.method}-${item.seed}
    deps: [data/inputs]
    params: ["${item.method}"]
    outs: ["data/${item.method}-${item.seed}"]
"""
PARAMS = "methods: [ft, kd]\nseeds: [1]\nft: {}\nkd: {temperature: 2}\nstudent: {learning_rate: 1}\n"


@pytest.fixture
def project(tmp_path: Path, python: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that was reproduced and committed."""
    for name, value in micro.environment().items():
        monkeypatch.setenv(name, value)
    path = micro.with_programs(python)["PATH"]
    monkeypatch.setattr(experiment, "search_path", lambda: path)
    repo = tmp_path / "repo"
    repo.mkdir()
    for name, text in {"dvc.yaml": DVC_YAML, "params.yaml": PARAMS}.items():
        (repo / name).write_text(text)
    (repo / ".gitignore").write_text("/data\n")
    for words in (
        ("git", "init", "-q"),
        ("dvc", "init", "-q"),
        ("dvc", "config", "core.analytics", "false"),
        ("dvc", "repro", "-q"),
        ("git", "add", "-A"),
        ("git", "commit", "-qm", "run"),
    ):
        micro.run(repo, *words, env={"PATH": path})
    return repo


@pytest.mark.integration
@pytest.mark.slow
def test_an_experiment_is_timed_and_the_project_put_back(project):
    goal = experiment.measure(project, "kd.temperature=4", 4242)
    assert goal.details["stages"] == "inputs distill@kd-1" and goal.details["experiment, s"] > 1
    assert goal.value == goal.details["experiment, s"] / goal.details["fine-tuning, s"]
    assert not micro.run(project, "git", "status", "--porcelain").stdout
    assert (project / "params.yaml").read_text() == PARAMS
    (project / "params.yaml").write_text(PARAMS.replace("temperature: 2", "temperature: 3"))
    micro.run(project, "git", "commit", "-qam", "not run")
    with pytest.raises(experiment.Refused, match="distill@kd-1 has changed: run `dvc repro`"):
        experiment.measure(project, "kd.temperature=4", 4242)


def test_the_stages_that_train_have_the_names_of_the_pipeline(root):
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert set(experiment.TRAININGS) <= stages.keys()
    assert experiment._changed('{"inputs": ["always changed"]}') == []
    changed = '{"inputs": ["always changed", {"changed deps": {}}], "cost": ["changed command"]}'
    assert experiment._changed(changed) == ["inputs", "cost"]
