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


def test_the_teacher_further_seeds_and_a_longer_baseline_are_there_where_methods_are_compared(root: Path) -> None:
    """A further row of a method is an arm by itself: it may be added where the others are kept."""
    longer = {"ft-longer": {"method": "ft", "distill": {"max_steps": 9}}}
    changes = {"compare.baseline_seeds": [4], **longer}
    params = _params(root, methods=["ft", "kd", "ft-longer"], seeds=[1, 2], **changes)
    arms = students.of(params, study.SCREEN)
    assert list(arms) == ["teacher", "ft", "kd", "ft-longer"]
    assert [student.target for members in arms.values() for student in members] == [
        "evaluate_teacher",
        *("evaluate@ft-1", "evaluate@ft-2", "evaluate_baseline@ft-4"),
        *("evaluate@kd-1", "evaluate@kd-2"),
        *("evaluate@ft-longer-1", "evaluate@ft-longer-2"),
    ]
    assert [(s.name, s.seed, s.label) for s in arms["ft-longer"]][0] == ("ft-longer", 1, "ft-longer-1")


def test_where_times_are_taken_students_are_trained_and_not_scored(root: Path) -> None:
    """All are one arm: their times are divided by each other, so none may be of another machine."""
    arms = students.of(_params(root, methods=["ft", "kd"], seeds=[3, 1]), study.TIME)
    assert {arm: {student.target for student in members} for arm, members in arms.items()} == {
        "all": {"distill@ft-3", "distill@kd-3", "distill@ft-1", "distill@kd-1"}
    }
    assert arms["all"][0].files == [Path("data/runs/distill-ft-3.json")]


def test_where_times_are_taken_students_take_turns(root: Path) -> None:
    """And where they are scored, DVC may order them as it likes."""
    params = _params(root, methods=["ft", "kd"], seeds=[3, 1])
    timed = students.rounds(students.of(params, study.TIME)["all"])
    assert [[student.target for student in part] for part in timed] == [
        ["distill@ft-3", "distill@kd-3"],
        ["distill@ft-1", "distill@kd-1"],
    ]
    screened = students.of(params, study.SCREEN)["kd"]
    assert students.rounds(screened) == [screened]


def test_dvc_has_these_stages(root: Path) -> None:
    """Names of stages are those of dvc.yaml, and what is kept of them is among their outputs."""
    text = (root / "dvc.yaml").read_text(encoding="utf-8")
    arms = students.of(_params(root, methods=["ft", "kd"], seeds=[1], **{"compare.baseline_seeds": [4]}), study.CONFIRM)
    for member in [member for members in arms.values() for member in members]:
        assert f"\n  {member.target.partition('@')[0]}:" in text
    assert all(path.as_posix() in text for path in arms["teacher"][0].files)
    beginnings = ("data/runs/distill-", "data/runs/evaluate-", "metrics/runs/")
    for beginning in beginnings:
        assert f"{beginning}${{item.method}}-${{item.seed}}.json" in text
    assert arms["kd"][0].files == [Path(f"{beginning}kd-1.json") for beginning in beginnings]
