"""The runs of a phase: its students arm by arm, and the teacher before them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distill.config.params import Params
from distill.experiments import study
from pipeline.process.records import record_file
from pipeline.stage import paths

TEACHER, ALL = "teacher", "all"


@dataclass(frozen=True)
class Student:
    """A student, or the teacher, which is scored beside them.

    Attributes:
        name: row of the tables.
        seed: None: the teacher, which is trained once.
        target: the stage of dvc.yaml that makes all that is kept of it.
        scored: whether it is scored; otherwise its training is all that counts.
    """

    name: str
    seed: int | None
    target: str
    scored: bool = True

    @property
    def label(self) -> str:
        """The beginning of its files' names."""
        return self.name if self.seed is None else paths.label(self.name, self.seed)

    @property
    def scores(self) -> Path:
        """Its scores, relative to a run's folder, as the next ones."""
        return paths.METRICS / "runs" / f"{self.label}.json"

    @property
    def files(self) -> list[Path]:
        """The records of its own stages, and its scores; the teacher's other stages are kept as all that runs once."""
        trained = [] if self.seed is None else [record_file(f"distill@{self.label}")]
        if not self.scored:
            return trained
        stage = "evaluate_teacher" if self.seed is None else f"evaluate@{self.label}"
        return [*trained, record_file(stage), self.scores]


def of(params: Params, phase: str) -> dict[str, list[Student]]:
    """Arm → its students: those of a method's variants; `teacher`, where methods are compared.

    A further row of a method that is compared is an arm by itself. In phase time all are one arm, so that what is
    divided by each other was taken on one machine.

    Args:
        params: the phase's parameters.
    """
    scored, compares = phase != study.TIME, phase in study.COMPARING
    arms = {TEACHER: [Student(TEACHER, None, "evaluate_teacher")]} if compares else {}
    for name in params.methods:
        arm = ALL if not scored else params.method_of(name)
        arm = name if compares and arm in arms else arm
        for seed in params.seeds_of(name):
            stage = "evaluate" if seed in params.seeds else "evaluate_baseline"
            stage = stage if scored else "distill"
            student = Student(name, seed, f"{stage}@{paths.label(name, seed)}", scored)
            arms.setdefault(arm, []).append(student)
    return arms


def rounds(members: list[Student]) -> list[list[Student]]:
    """The students of an arm in the parts that are run one after the other; DVC runs those of a part in its own order.

    Students that are not scored take turns: all with the first seed, then with the next. What a machine does in some
    minutes and not in others would else be a difference between methods.
    """
    if all(member.scored for member in members):
        return [members]
    return [[member for member in members if member.seed == seed] for seed in dict.fromkeys(m.seed for m in members)]
