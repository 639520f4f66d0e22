"""Trainings of several phases: each with a fresh optimiser, on the weights at the end of the phase before.

Annealing KD, Combined KD and TinyBERT train in two. The weights of a finished phase are kept in a sealed folder, so
that a killed run resumes in its phase.

`patience` may end the last phase alone: the weights of the others are not the result, and their schedules (of the
growing logits, say) mean something only as a whole.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from distill.config.schema import Training
from distill.errors import UserError
from distill.runtime import checkpoints, distributed
from distill.runtime.files import publish
from distill.training import trainer
from distill.training.objective import Objective, Phase
from distill.training.run import Result, TrainingRun, join


def updates(training: Training, rows: int) -> int:
    """The number of updates that the section asks for on so many feature rows, as transformers.Trainer counts them."""
    if training.max_steps:
        return training.max_steps
    micro = math.ceil(rows / (training.batch_size // training.gradient_accumulation))
    return math.ceil(training.epochs * max(math.ceil(micro / training.gradient_accumulation), 1))


def divide(total: int, phases: Sequence[Phase]) -> list[int]:
    """Updates of each phase: at least one each, `total` together.

    Raises:
        UserError: there are fewer updates than phases.
    """
    if total < len(phases):
        raise UserError(
            f"params.yaml: max_steps, epochs: {total} updates cannot be divided into {len(phases)} phases: give the"
            f" training {len(phases)} or more"
        )
    ends, done = [], 0.0
    for number, phase in enumerate(phases, start=1):
        done += phase.share
        earliest, latest = (ends[-1] if ends else 0) + 1, total - len(phases) + number
        ends.append(min(max(round(done * total), earliest), latest))
    ends[-1] = total
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def train(run: TrainingRun) -> Result:
    """`trainer.train`, once for every phase of the objective; the trained model gets the updates asked for."""
    objective, settings = run.objective, run.settings
    phases, total = objective.phases(settings), updates(settings, run.epoch_rows)
    if len(phases) == 1 and not phases[0].changes and objective.trainer_steps(total) == total:
        return trainer.train(run)
    # A warm-up in updates counts for the whole training: every phase warms up for the same share of its updates.
    warmup = settings.warmup if settings.warmup < 1 else min(settings.warmup / total, 0.99)
    results: list[Result] = []
    for number, (phase, count) in enumerate(zip(phases, divide(total, phases), strict=True)):
        objective.begin(number)
        folder = run.folder / f"phase-{number + 1}"
        if (result := _finished(folder / "done", objective)) is None:
            values = {name: getattr(settings, name) for name in Training.model_fields}
            values |= {"max_steps": objective.trainer_steps(count), "warmup": warmup} | phase.changes
            if number < len(phases) - 1:
                values["patience"] = None
            part = (run.with_labels_alone() if phase.labels_alone else run).part(
                folder,
                sum(result.steps for result in results),
                settings=Training.model_validate(values),
                seed=run.seed + 7919 * number,  # another order of the rows in every phase
                label=f"{run.label}, {phase.name}" if phase.name else run.label,
            )
            result = trainer.train(part)
            if number < len(phases) - 1 and distributed.is_first():
                _finish(folder, objective, result)
        whole = result.steps == objective.trainer_steps(count)
        results.append(replace(result, updates=count if whole else objective.updates_in(result.steps)))
    return join(results)


def _finish(folder: Path, objective: Objective, result: Result) -> None:
    """Seal the weights at the end of a phase; its checkpoints are then no longer needed."""
    draft = folder / "done.draft"
    draft.mkdir(parents=True, exist_ok=True)
    trainer.save_weights(objective, draft / "weights.safetensors")
    result.write(draft / "result.json")
    checkpoints.seal(draft)
    publish(draft, folder / "done")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _finished(done: Path, objective: Objective) -> Result | None:
    if not checkpoints.is_complete(done):
        return None
    trainer.load_weights(objective, done / "weights.safetensors")
    result = Result.read(done / "result.json")
    # Times are those of this process, which starts after the phase.
    return replace(result, seconds=0.0, scoring_seconds=0.0, examples_per_second=0.0, resumed_from=result.steps)
