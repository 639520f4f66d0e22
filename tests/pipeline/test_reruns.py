"""Only what a change can change is run again: with real DVC, in all its modes, and across Git branches and clones."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from distill.runtime.files import tree_hash
from tests.helpers import micro
from tests.helpers.project import executed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

TED = ["distill_filtered@ted-1", "evaluate_filtered@ted-1", "summarize"]
KD = ["distill_logits@kd-1", "evaluate_logits@kd-1", "summarize"]
OFF = {"DISTILL_TRACKING": "off"}


def test_the_first_run_runs_every_stage_and_the_second_none(project):
    assert (
        sorted(project.first.stages)
        == sorted(
            ["corpus", "prepare", "finetune_teacher", "finetune_student", "predict_teacher"]
            + ["train_teacher_filters", "train_student_filters", "evaluate_teacher", "evaluate_student", "cost"]
            + ["plan", "distill_assistant", "train_generator", "retrieve", "augment"]  # the last four: empty artifacts
            + [*KD[:2], *TED]
        )
    )
    again = project.dvc("repro").stdout
    assert executed(again) == [] and "up to date" in again
    assert project.git("status", "--short") == ""
    assert not (project.repo / ".scratch").exists()


def test_a_weight_of_ted_reruns_ted(raised):
    assert raised.stages == TED


def test_the_first_value_again_is_restored_without_running_anything(raised):
    assert executed(raised.undone) == []
    for stage in TED:
        assert f"Stage '{stage}' is cached" in raised.undone


def test_the_temperature_of_kd_reruns_kd(cooler):
    assert cooler.stages == KD
    assert "the teacher itself is not loaded" in cooler.output


def test_a_further_seed_runs_that_seed_only(twice):
    runs = [f"{stage}_{name}-2" for name in ("logits@kd", "filtered@ted") for stage in ("distill", "evaluate")]
    assert sorted(twice.stages) == sorted([*runs, "summarize"])


def test_from_the_cache_no_working_teacher_is_needed(project, tmp_path):
    """With a teacher of NaN, whose hash the caches are made to name, students come out the same, byte by byte."""
    repo = tmp_path / "repo"
    shutil.copytree(project.repo, repo, ignore=shutil.ignore_patterns(".git", ".dvc", "mlartifacts", "mlflow.db*"))
    weights = repo / "data" / "models" / "teacher" / "model.safetensors"
    broken = {name: torch.full_like(tensor, torch.nan) for name, tensor in load_file(weights).items()}
    weights.unlink()  # it may be a link into DVC's cache
    save_file(broken, weights, metadata={"format": "pt"})
    env = project.env | OFF
    refused = micro.run(repo, "python", "-m", "pipeline.distill", "kd", "1", env=env, check=False)
    assert refused.returncode == 2 and "the predictions belong to the weights" in refused.stderr
    for folder in ("teacher", "states"):
        meta = repo / "data" / folder / "meta.json"
        content = json.loads(meta.read_text()) | {"teacher": tree_hash(weights)}
        meta.unlink()
        meta.write_text(json.dumps(content))
    for method in ("kd", "ted"):
        student = Path("data/models/distill") / method / "1"
        shutil.rmtree(repo / student)
        micro.run(repo, "python", "-m", "pipeline.distill", method, "1", env=env)
        assert tree_hash(repo / student) == tree_hash(project.repo / student)


def append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


def test_an_edit_reruns_what_uses_the_file(project):
    source = project.repo / "src" / "distill"
    for name in ("tracking.py", "tracking_client.py"):
        append(source / name, "\n# edited\n")
    assert executed(project.dvc("repro", env=OFF).stdout) == []
    append(source / "methods" / "ted.py", "\n# edited\n")
    # A comment: plan, which asks the method what it reads, and the student come out as they were, and nothing behind
    # them runs again but the summary, which says how long the training took.
    assert executed(project.dvc("repro", env=OFF).stdout) == ["plan", TED[0], "summarize"]
    assert executed(project.restore()) == []


def test_metrics_and_plots_of_two_branches_are_compared(project, raised, tmp_path):
    project.dvc("exp", "branch", "raised", "weight")
    branches = (project.git("branch", "--show-current").strip(), "weight")
    diff = json.loads(project.dvc("metrics", "diff", *branches, "--all", "--json").stdout)
    scores = diff["metrics/summary.json"]
    for name in ("em", "f1"):
        old, new = (
            json.loads(project.git("show", f"{branch}:metrics/summary.json"))["ted"][name] for branch in branches
        )
        assert scores[f"ted.{name}"] == {"old": old, "new": new, "diff": new - old}
    assert all(score["diff"] == 0 for name, score in scores.items() if not name.startswith("ted."))

    project.dvc("plots", "diff", *branches, "--out", str(tmp_path))
    page = (tmp_path / "index.html").read_text()
    for revision in branches:
        rows = project.git("show", f"{revision}:metrics/curves/ted-1.csv").splitlines()
        loss = rows[1].split(",")[rows[0].split(",").index("loss")]
        assert revision in page and loss in page


def test_a_fresh_clone_pulls_and_has_nothing_to_do(project, tmp_path):
    project.dvc("push", "-q")
    clone = tmp_path / "clone"
    project.run("git", "clone", "-q", str(project.repo), str(clone))
    micro.run(clone, "dvc", "pull", "-q")
    assert "up to date" in micro.run(clone, "dvc", "status").stdout
    again = micro.run(clone, "dvc", "repro").stdout
    assert executed(again) == [] and "up to date" in again
    assert tree_hash(clone / "data") == tree_hash(project.repo / "data")
