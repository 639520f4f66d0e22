"""Stages whose artifact no listed method needs: over at once, with empty outputs."""

import json
import subprocess
import sys

import pytest
import yaml

from distill.errors import UserError
from distill.methods.requirements import ARTIFACTS
from pipeline.stage import artifacts
from pipeline.stage.definition import define
from tests.helpers import micro

SCRIPTS = {
    ("train_filters", "teacher"): "filters",
    ("train_filters", "student"): "filters",
    ("train_assistants",): "assistant",
    ("train_generator",): "generator",
    ("retrieve",): "candidates",
    ("augment",): "augmented",
}


@pytest.fixture
def repo(tmp_path, monkeypatch):
    """A repository in which no listed method needs anything."""
    folder = micro.repo(tmp_path / "repo", {"methods": ["ft", "kd"]})
    for artifact in ARTIFACTS:
        path = folder / artifacts.file(artifact)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"needed": false}')
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("words", SCRIPTS)
def test_a_stage_that_nobody_needs_imports_no_library_that_takes_its_time(repo, words):
    """It needs no data either, and all its outputs are there."""
    code = (
        "import sys; from pipeline import __main__ as start\n"
        f"try:\n    start.main({list(words)!r})\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repo, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"torch", "transformers", "datasets", "mlflow"} & set(done.stdout.split()) == set()
    for path in define(*words).outs:
        assert (repo / path).exists(), path
    record = next(path for path in define(*words).outs if path.parent.name == "runs")
    assert json.loads((repo / record).read_text())["needed"] is False


def test_it_depends_on_the_file_that_says_so_and_every_artifact_has_its_stages(root):
    """Snapshots of the teacher are kept and read by stages that run in any case."""
    assert set(artifacts.MADE_BY) == set(ARTIFACTS) - {"snapshots"} and set(artifacts.FOLDERS) == set(ARTIFACTS)
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    for artifact, names in artifacts.MADE_BY.items():
        for name in names:
            assert artifacts.file(artifact).as_posix() in stages[name]["deps"]
    for words, artifact in SCRIPTS.items():
        assert define(*words).name in artifacts.MADE_BY[artifact]


@pytest.mark.parametrize("text", ["", "[]", "{}", "null"])
def test_a_damaged_file_of_the_plan_is_named(repo, text):
    (repo / artifacts.file("candidates")).write_text(text)
    with pytest.raises(UserError, match="data/plan/candidates.json: cannot be read .*run `dvc repro plan`"):
        artifacts.unneeded(define("retrieve"))


def test_an_artifact_that_was_not_made_is_named_with_the_stage_that_makes_it(repo):
    folder = repo / "data/candidates"
    for made in (False, True):
        if made:
            folder.mkdir()
            (folder / artifacts.NOTE).write_text("{}")
        with pytest.raises(UserError, match="data/candidates: not made, .* run `dvc repro retrieve`"):
            artifacts.check_made("candidates", [folder])
    (folder / artifacts.NOTE).unlink()
    artifacts.check_made("candidates", [folder])
