"""Only what a change can change is run again: with real DVC, in all its modes, and across Git branches and clones."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from dvc.repo import Repo
from safetensors.torch import load_file, save_file

from distill.experiments import params_file
from distill.runtime.files import file_hash, files_below, tree_hash
from tests.helpers import bits, micro
from tests.helpers.project import OFF, executed

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(1200)]

TED = ["distill@ted-1", "evaluate@ted-1", "summarize"]
KD = ["distill@kd-1", "evaluate@kd-1", "summarize"]
FILTERS = ["train_teacher_filters", "train_student_filters"]


def test_the_first_run_runs_every_stage_and_the_second_none(project):
    assert (
        sorted(project.first.stages)
        == sorted(
            ["corpus", "prepare", "finetune_teacher", "finetune_student", "predict_teacher"]
            + ["train_teacher_filters", "train_student_filters", "evaluate_teacher", "evaluate_student", "cost"]
            + ["plan", "train_assistants", "train_generator", "retrieve", "augment"]  # the last four: empty artifacts
            + ["signals", *KD[:2], *TED]
        )
    )
    again = project.dvc("repro").stdout
    assert executed(again) == []
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


SECOND_SEED = sorted([f"{stage}@{name}-2" for name in ("kd", "ted") for stage in ("distill", "evaluate")])


def test_a_further_seed_runs_that_seed_only(project):
    assert sorted(project.edited({"seeds": [1, 2]})) == [*SECOND_SEED, "summarize"]


@pytest.mark.exhaustive
def test_so_does_the_queue(twice):
    assert sorted(twice.stages) == [*SECOND_SEED, "summarize"]


def test_a_filters_parameter_reruns_filters_and_ted_and_a_new_method_what_it_needs_and_its_own(project):
    """Both in one edit: neither runs anything of kd."""
    stages = project.edited({"student_filters.learning_rate": 2e-3, "methods": ["kd", "ted", "lwd"]})
    added = ["plan", "predict_teacher", "distill@lwd-1", "evaluate@lwd-1"]
    assert sorted(stages) == sorted([FILTERS[1], "signals", *TED, *added])


def test_a_students_rate_trains_no_teacher(project):
    """It changes one stage, and the teacher's does not come after that one."""
    file = project.repo / "params.yaml"
    before = file.read_text()
    file.write_text(params_file.replace(before, {("student", "learning_rate"): 2e-3}))
    changed = json.loads(project.dvc("status", "--json").stdout)
    assert set(changed) == {"inputs", "finetune_student"}
    file.write_text(before)
    with Repo(str(project.repo)) as repo:
        graph = repo.index.graph  # edges lead from a stage to those that it needs
        later, waiting = set(), [stage for stage in graph if stage.name == "finetune_student"]
        while waiting:
            reached = [stage for stage in graph.predecessors(waiting.pop()) if stage.name not in later]
            waiting += reached
            later |= {stage.name for stage in reached}
    assert {"train_student_filters", "distill@kd-1", "distill@ted-1", "cost", "summarize"} <= later
    assert not {"finetune_teacher", "predict_teacher", "train_teacher_filters", "evaluate_teacher"} & later


def test_with_its_signals_alone_a_student_comes_out_the_same(project, tmp_path):
    """In a folder that lacks the teacher and all that was made of it, students come out the same, byte by byte."""
    repo = tmp_path / "repo"
    shutil.copytree(project.repo, repo, ignore=shutil.ignore_patterns(".git", ".dvc", "mlartifacts", "mlflow.db*"))
    for name in ("teacher", "states", "filter_states", "models/teacher", "models/filters", "plan"):
        shutil.rmtree(repo / "data" / name)
    env = project.env | OFF
    for method in ("kd", "ted"):
        student = Path("data/models/distill") / method / "1"
        shutil.rmtree(repo / student)
        micro.run(repo, "python", "-m", "pipeline", "distill", method, "1", env=env)
        assert tree_hash(repo / student) == tree_hash(project.repo / student)


def test_outputs_of_another_teacher_are_refused(project, tmp_path):
    repo = tmp_path / "repo"
    shutil.copytree(project.repo, repo, ignore=shutil.ignore_patterns(".git", ".dvc", "mlartifacts", "mlflow.db*"))
    weights = repo / "data" / "models" / "teacher" / "model.safetensors"
    broken = {name: torch.full_like(tensor, torch.nan) for name, tensor in load_file(weights).items()}
    weights.unlink()  # it may be a link into DVC's cache
    save_file(broken, weights, metadata={"format": "pt"})
    bits.reseal(weights.parent)
    refused = micro.run(repo, "python", "-m", "pipeline", "signals", env=project.env | OFF, check=False)
    assert refused.returncode == 2 and "the predictions belong to the weights" in refused.stderr


def append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


def test_an_edit_reruns_what_uses_the_file(project):
    source = project.repo / "src" / "distill"
    for name in ("tracking/run.py", "tracking/store.py"):
        append(source / name, "\n# edited\n")
    append(project.repo / "pipeline/process/tracked.py", "\n# edited\n")
    assert set(json.loads(project.dvc("status", "--json").stdout)) == {"inputs"}  # which runs every time
    append(source / "methods" / "ted.py", "\n# edited\n")
    # A comment: plan, which asks the method what it reads, and the student come out as they were, and nothing behind
    # them runs again but the summary, which says how long the training took.
    assert executed(project.dvc("repro", env=OFF).stdout) == ["plan", TED[0], "summarize"]
    project.restore()


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


@pytest.fixture(scope="module")
def pushed(project):
    """The project, with its results in its remote."""
    assert project.git("status", "--short") == ""  # no file is left of methods that experiments had
    project.dvc("push", "-q")
    return project


def test_a_fresh_clone_pulls_and_has_nothing_to_do(pushed, tmp_path):
    project, clone = pushed, tmp_path / "clone"
    project.run("git", "clone", "-q", str(project.repo), str(clone))
    env = project.env | OFF
    micro.run(clone, "dvc", "pull", env=env)
    assert micro.run(clone, "dvc", "status", env=env).stdout.split() == ["inputs:", "always", "changed"]
    again = micro.run(clone, "dvc", "repro", env=env).stdout
    assert executed(again) == []
    # Students of methods that experiments had may be left in the project.
    files = {name: file_hash(file) for name, file in files_below(clone / "data")}
    assert files.items() <= {name: file_hash(file) for name, file in files_below(project.repo / "data")}.items()
    assert {f"models/distill/{method}/1/model.safetensors" for method in ("kd", "ted")} <= set(files)


def test_a_clone_makes_one_student_with_no_more_than_it_reads(pushed, tmp_path):
    """With nothing but Git and a remote: no teacher is trained, and nothing is fetched that kd does not read."""
    project, clone = pushed, tmp_path / "clone"
    project.run("git", "clone", "-q", str(project.repo), str(clone))
    shutil.rmtree(clone / ".dvc" / "cache", ignore_errors=True)
    micro.run(clone, "git", "checkout", "-q", "-b", "other")
    text = (clone / "params.yaml").read_text()
    (clone / "params.yaml").write_text(params_file.replace(text, {("kd", "temperature"): 4}))
    done = micro.run(clone, "dvc", "repro", "--pull", "--allow-missing", "distill@kd-1", env=project.env | OFF)
    assert executed(done.stdout) == ["distill@kd-1"]
    assert (clone / "data/models/distill/kd/1/model.safetensors").exists()
    there = {path.relative_to(clone).as_posix() for path in (clone / "data").rglob("*") if path.is_file()}
    for absent in ("models/teacher", "models/filters", "states", "filter_states", "teacher", "signals/ted"):
        assert not [name for name in there if name.startswith(f"data/{absent}/")], absent
    fetched = sum(path.stat().st_size for path in (clone / ".dvc/cache").rglob("*") if path.is_file())
    states = sum(path.stat().st_size for path in (project.repo / "data/states").rglob("*") if path.is_file())
    assert fetched < states
