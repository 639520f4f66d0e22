"""The runs of a phase are stages of dvc.yaml, arm by arm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill import parameters
from distill.config.params import Params
from distill.experiments import study
from pipeline.study import students

VARIANTS = {
    "kd-t1": {"method": "kd"},
    "kd-t2": {"method": "kd", "kl_alpha": 3},
    "pkd-t1": {"method": "pkd"},
}


def _params(root: Path, **changes: Any) -> Params:
    return parameters.load(root / "tests/params.yaml", changes)


def test_variants_of_a_method_are_an_arm(root: Path) -> None:
    params = _params(root, methods=["ft", "kd-t1", "pkd-t1", "kd-t2"], seeds=[11], **VARIANTS)
    arms = students.of(params, study.TUNE)
    targets = {arm: [student.target for student in members] for arm, members in arms.items()}
    assert targets == {
        "ft": ["evaluate@ft-11"],
        "kd": ["evaluate@kd-t1-11", "evaluate@kd-t2-11"],
        "pkd": ["evaluate@pkd-t1-11"],
    }


def test_the_teacher_further_seeds_and_controls_are_there_where_methods_are_compared(root: Path) -> None:
    changes = {"compare.baseline_seeds": [4], "controls.methods": ["kd"], "controls.times": ["own"]}
    params = _params(root, methods=["ft", "kd"], seeds=[1, 2], **changes)
    arms = students.of(params, study.SCREEN)
    assert list(arms) == ["teacher", "ft", "kd", "ft-own-kd"]
    assert [student.target for members in arms.values() for student in members] == [
        "evaluate_teacher",
        *("evaluate@ft-1", "evaluate@ft-2", "evaluate_baseline@ft-4"),
        *("evaluate@kd-1", "evaluate@kd-2"),
        *("evaluate_control@own-kd-1", "evaluate_control@own-kd-2"),
    ]
    assert [(s.name, s.seed, s.label) for s in arms["ft-own-kd"]][0] == ("ft-own-kd", 1, "ft-own-kd-1")


def test_where_times_are_taken_students_are_trained_and_not_scored(root: Path) -> None:
    (student,) = students.of(_params(root, methods=["ft"], seeds=[1]), study.TIME)["ft"]
    assert (student.target, student.scored, student.record) == ("distill@ft-1", False, student.trained)


def test_dvc_has_these_stages(root: Path) -> None:
    """Names of stages are those of dvc.yaml, and the record that marks a run as done is among the stage's outputs."""
    text = (root / "dvc.yaml").read_text(encoding="utf-8")
    changes = {"compare.baseline_seeds": [4], "controls.methods": ["kd"], "controls.times": ["own"]}
    arms = students.of(_params(root, methods=["ft", "kd"], seeds=[1], **changes), study.CONFIRM)
    for member in [member for members in arms.values() for member in members]:
        assert f"\n  {member.target.partition('@')[0]}:" in text
    assert arms["teacher"][0].record.as_posix() in text
    assert "data/runs/evaluate-ft-${item.time}-${item.method}-${item.seed}.json" in text
    assert arms["ft-own-kd"][0].record == Path("data/runs/evaluate-ft-own-kd-1.json")
