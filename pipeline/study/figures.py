"""The figures of a study, as they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from distill.analysis import across_tasks, training_cost
from distill.analysis.across_tasks import Mean, TaskDifference
from distill.errors import UserError
from distill.experiments import study
from distill.experiments.study import Study
from distill.runtime import json_files
from pipeline.process.records import read_record
from pipeline.stage import paths
from pipeline.stage.artifacts import MADE_BY
from pipeline.study.phase_folder import DIFFERENCES, DONE, RECORDS, SUMMARY, PhaseFolder
from pipeline.summary import contents

CONFIDENCE = 0.95
#: The stages that run once for all students, in the pipeline's order.
ONCE = (
    *("finetune_teacher", "finetune_student", "predict_teacher"),
    *(stage for stages in MADE_BY.values() for stage in stages),
)
_FIX = "run the study's command again"


@dataclass(frozen=True)
class Figures:
    """What a study has found so far.

    Attributes:
        plan: the study.
        results: its folder of results.
    """

    plan: Study
    results: Path

    def folder(self, task: str, phase: str) -> PhaseFolder:
        """Where the figures of a phase are."""
        return PhaseFolder(self.results / task / phase)

    def done(self, task: str, phase: str) -> bool:
        """Whether a phase has its figures."""
        return self.folder(task, phase).done

    def summary(self, task: str, phase: str) -> dict[str, Any]:
        """Row → scores."""
        return json_files.read(self.folder(task, phase).path / SUMMARY, _FIX, contents.SUMMARY)

    def made(self, task: str, phase: str) -> dict[str, Any]:
        """Commit of the analysis, what was picked and confirmed, and the updates of the longer baseline."""
        return json_files.read(self.folder(task, phase).path / DONE, _FIX)

    def differences(self, task: str, phase: str) -> dict[str, Any]:
        """Metric; baseline → method → difference."""
        return json_files.read(self.folder(task, phase).path / DIFFERENCES, _FIX)

    def screened(self) -> list[str]:
        """The tasks that have been screened, without the replications."""
        listed = self.plan.tasks.items()
        return [name for name, task in listed if self.done(name, study.SCREEN) and not task.replication]

    def cost(self, task: str, arm: str) -> float | None:
        """Seconds of an update, as a multiple of the baseline's; None before phase time."""
        return median(ratios) if (ratios := self.ratios(task, arm)) else None

    def ratios(self, task: str, arm: str) -> list[float]:
        """Seconds of an update over the baseline's of the same round, for each round of phase time; empty before it."""
        if not self.done(task, study.TIME):
            return []
        found = []
        for seed in self.plan.seeds.screening:
            seconds = [self._seconds(task, name, seed) for name in (arm, self.plan.baseline)]
            if None not in seconds:
                found.append(seconds[0] / seconds[1])
        return found

    def _seconds(self, task: str, arm: str, seed: int) -> float | None:
        """Of an update in a round of phase time; None where the round was not run."""
        path = self._record_file(task, study.TIME, arm, seed)
        if not path.is_file():
            return None
        return training_cost.update_seconds(read_record(path))

    def before_students(self, task: str) -> dict[str, float | None]:
        """Stage → seconds of what was made once for all students of the screening, in the pipeline's order.

        None where a part of them is not known.
        """
        found = {}
        for stage in ONCE:
            path = self.folder(task, study.SCREEN).path / RECORDS / f"{stage}.json"
            record = read_record(path) if path.is_file() else None
            if record and record.get("needed", True):
                found[stage] = training_cost.stage_seconds(record)
        return found

    def student_seconds(self, task: str, arm: str) -> float:
        """Of an arm's own training in the screening, the mean over seeds."""
        files = [self._record_file(task, study.SCREEN, arm, seed) for seed in self.plan.seeds.screening]
        return fmean(training_cost.own_seconds(read_record(file)) for file in files if file.is_file())

    def as_long(self, task: str, arm: str) -> int:
        """Updates of the baseline that take as long as an arm's own training, by the short ones of phase time.

        What a training does once at its start, or once in a cycle of updates, counts for more in those.

        Raises:
            UserError: the task is not screened, or its times are not taken.
        """
        for phase in (study.SCREEN, study.TIME):
            if not self.done(task, phase):
                idle = " on an idle machine" if phase == study.TIME else ""
                raise UserError(f"{self.folder(task, phase).path}: missing: run phase {phase} of {task} first{idle}")
        screened = self._record_file(task, study.SCREEN, arm, self.plan.seeds.screening[0])
        return round(self.cost(task, arm) * read_record(screened)["updates"])

    def _record_file(self, task: str, phase: str, arm: str, seed: int) -> Path:
        """Of an arm's training."""
        label = paths.label(study.tuned_name(self.plan, arm), seed)
        return self.folder(task, phase).path / RECORDS / f"distill-{label}.json"

    def mean(self, arm: str, baseline: str) -> Mean:
        """The arm against another in the screening, as its mean over tasks."""
        row, other = (study.tuned_name(self.plan, name) for name in (arm, baseline))
        rows = [self.differences(task, study.SCREEN)["against"][other][row] for task in self.screened()]
        parts = [TaskDifference(row["value"], row["shared"], row["seeds"], row["freedom"]) for row in rows]
        return across_tasks.mean(parts, CONFIDENCE)

    def mean_cost(self, arm: str) -> float | None:
        """The mean over tasks of `cost`; None where a task has none yet."""
        costs = [self.cost(task, arm) for task in self.screened()]
        return fmean(costs) if costs and None not in costs else None
