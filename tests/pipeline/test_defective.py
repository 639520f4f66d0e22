"""Wrong labels reach the training that they are meant for and nothing else: the teacher's, or the students'."""

import json
import shutil
from pathlib import Path

import pytest

from distill.config import reading
from distill.errors import UserError
from distill.parameters import parse
from pipeline import finetune as finetuning
from tests.helpers import micro

pytestmark = pytest.mark.slow


def finetune(base, stages, folder, **settings):
    repo = shutil.copytree(base, folder)
    (repo / "params.yaml").write_text(micro.params({f"teacher.{name}": value for name, value in settings.items()}))
    return repo, stages.run(repo, "finetune", "teacher")


def weights(repo, role="teacher"):
    return (repo / "data/models" / role / "model.safetensors").read_bytes()


def test_noise_changes_the_teacher_and_no_noise_does_not(base, stages, tmp_path):
    noisy, done = finetune(base, stages, tmp_path / "noisy", label_noise=0.5)
    assert "50% of the training labels are replaced" in done.out and weights(noisy) != weights(base)
    again, _ = finetune(base, stages, tmp_path / "again", label_noise=0.5)
    assert weights(again) == weights(noisy)
    other, _ = finetune(base, stages, tmp_path / "other", label_noise=0.25)
    assert weights(other) not in (weights(noisy), weights(base))
    clean, done = finetune(base, stages, tmp_path / "clean", label_noise=0.0)
    assert "replaced" not in done.out and weights(clean) == weights(base)


def test_the_student_is_fine_tuned_on_the_labels_as_they_are(base, stages, tmp_path):
    repo, _ = finetune(base, stages, tmp_path / "repo", label_noise=1.0)
    stages.run(repo, "finetune", "student")
    assert weights(repo, "student") == weights(base, "student")


def distilled(repo, stages, method, **settings):
    """Weights of a distilled student, and what its stage printed."""
    (repo / "params.yaml").write_text(micro.params(settings))
    out = stages.run(repo, "distill", method, "1").out
    return (repo / "data/models/distill" / method / "1" / "model.safetensors").read_bytes(), out


def test_noise_reaches_the_labels_of_students_and_no_signal_of_the_teacher(base, stages, tmp_path):
    repo, noise = shutil.copytree(base, tmp_path / "repo"), {"distill.label_noise": 0.5}
    clean, _ = distilled(repo, stages, "ft")
    noisy, out = distilled(repo, stages, "ft", **noise)
    assert noisy != clean and "50% of the training labels are replaced" in out
    without_labels = {"kd.task_weight": 0}
    assert (
        distilled(repo, stages, "kd", **without_labels)[0]
        == distilled(repo, stages, "kd", **without_labels, **noise)[0]
    )
    (repo / "params.yaml").write_text(micro.params({"student.label_noise": 0.5}))
    assert "50% of the training labels are replaced" in stages.run(repo, "finetune", "student").out
    assert weights(repo, "student") != weights(base, "student")


def test_a_teacher_worse_than_its_student_is_warned_about(base, stages, tmp_path):
    repo, _ = finetune(base, stages, tmp_path / "repo", label_noise=1.0)
    scores = repo / "metrics/selection/teacher.json"
    scores.write_text(json.dumps({"f1": -1.0}))
    assert "defective distillation" in stages.run(repo, "finetune", "student").out


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_without_scores_it_says_that_it_could_not_tell(capsys, role):
    scores = {"teacher": {"f1": 1.0}, "student": {"f1": 2.0}} | {role: {}}
    finetuning.warn_if_weaker(scores["teacher"], scores["student"], "f1")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert len(lines) == 1 and "WARNING" in lines[0] and "could not be checked" in lines[0]
    assert f"{role}.evaluations: 0" in lines[0]


def test_a_student_without_evaluations_is_trained_with_a_warning(base, stages, tmp_path):
    repo = shutil.copytree(base, tmp_path / "repo")
    assert "could not be checked" not in stages.run(repo, "finetune", "student").out
    (repo / "params.yaml").write_text(micro.params({"student.evaluations": 0}))
    assert "could not be checked: student.evaluations: 0 leaves" in stages.run(repo, "finetune", "student").out


@pytest.mark.parametrize("share", [-0.1, 1.5, True])
def test_a_share_that_cannot_be_is_refused(base, stages, tmp_path, share):
    repo = shutil.copytree(base, tmp_path / "repo")
    (repo / "params.yaml").write_text(micro.params({"teacher.label_noise": share}))
    done = stages.run(repo, "finetune", "teacher", check=False)
    assert done.code == 2 and "teacher.label_noise" in done.err and "Traceback" not in done.err


@pytest.mark.parametrize("section", ["teacher", "student", "distill"])
def test_every_share_is_from_0_to_1(section):
    raw = reading.parse(micro.params({f"{section}.label_noise": 1.5}), "params.yaml")
    with pytest.raises(UserError, match=rf"{section}.label_noise"):
        parse(raw, Path("params.yaml"))
