"""Trainings of several phases: each with a fresh optimiser, on the weights that the one before it left.

Annealing KD, Combined KD and TinyBERT train in two. A phase that is over is kept as a sealed folder of weights, so that
a killed run goes on in the phase in which it was.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from distill.config.schema import Runtime, Training
from distill.data.loading.batches import Rows
from distill.errors import UserError
from distill.runtime import checkpoints, distributed
from distill.runtime.files import publish
from distill.training import trainer
from distill.training.trainer import Result


@dataclass(frozen=True)
class Phase:
    """A part of a training.

    Attributes:
        name: for progress bars; empty where there is only one.
        share: of all updates, in (0, 1]; the shares of all phases add up to 1.
        changes: values of the training's section that differ in this phase (`keep`, `evaluations`, `learning_rate` …).
    """

    name: str
    share: float
    changes: dict[str, Any] = field(default_factory=dict)


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


def train(
    objective: nn.Module,
    features: Any,
    pad_token_id: int,
    labels: tuple[str, ...],
    training: Training,
    runtime: Runtime,
    seed: int,
    folder: Path,
    label: str,
    main_metric: str = "",
    evaluate: Callable[[], dict[str, float]] | None = None,
    on_log: Callable[[dict[str, float], int], None] | None = None,
) -> Result:
    """`trainer.train`, once for every phase of the objective.

    An objective without `phases(training)` has one. One with `trainer_steps(updates)` may take steps that update
    something else than the student (a generator, say): the student gets as many updates as with any other method.
    """
    phases = objective.phases(training) if hasattr(objective, "phases") else [Phase("", 1.0)]
    steps = objective.trainer_steps if hasattr(objective, "trainer_steps") else lambda count: count
    total = updates(training, len(Rows(features, ())))
    arguments = (features, pad_token_id, labels)
    if len(phases) == 1 and not phases[0].changes and steps(total) == total:
        return trainer.train(
            objective, *arguments, training, runtime, seed, folder, label, main_metric, evaluate, on_log
        )
    # A number of updates is meant for the whole training: every phase warms up for the same share of its own.
    warmup = training.warmup if training.warmup < 1 else min(training.warmup / total, 0.99)
    results: list[Result] = []
    for number, (phase, count) in enumerate(zip(phases, divide(total, phases), strict=True)):
        if hasattr(objective, "begin"):
            objective.begin(number)
        own = folder / f"phase-{number + 1}"
        if (finished := _finished(own / "done", objective)) is None:
            values = {name: getattr(training, name) for name in Training.model_fields}
            offset = sum(result.steps for result in results)
            finished = trainer.train(
                objective,
                *arguments,
                Training.model_validate(values | {"max_steps": steps(count), "warmup": warmup} | phase.changes),
                runtime,
                seed + 7919 * number,  # another order of the rows in every phase
                own,
                f"{label}, {phase.name}" if phase.name else label,
                main_metric,
                evaluate,
                _shifted(on_log, offset),
            )
            if number < len(phases) - 1 and distributed.is_first():
                _finish(own, objective, finished)
        results.append(finished)
    return _joined(results, training)


def _shifted(on_log: Callable | None, offset: int) -> Callable | None:
    return on_log and (lambda values, step: on_log(values, step + offset))


def _finish(folder: Path, objective: nn.Module, result: Result) -> None:
    """Seal the weights at the end of a phase; its checkpoints are then no longer needed."""
    draft = folder / "done.draft"
    draft.mkdir(parents=True, exist_ok=True)
    trainer.save_weights(objective, draft / "weights.safetensors")
    (draft / "result.json").write_text(json.dumps(asdict(result)))
    checkpoints.seal(draft)
    publish(draft, folder / "done")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _finished(done: Path, objective: nn.Module) -> Result | None:
    if not checkpoints.is_complete(done):
        return None
    trainer.load_weights(objective, done / "weights.safetensors")
    result = Result(**json.loads((done / "result.json").read_text()))
    # Times are those of this process's part, which begins behind the phase.
    return replace(result, seconds=0.0, examples_per_second=0.0, resumed_from=result.steps)


def _joined(results: list[Result], training: Training) -> Result:
    history, steps = [], 0
    for result in results:
        history += [entry | {"step": entry["step"] + steps} for entry in result.history]
        steps += result.steps
    seconds = sum(result.seconds for result in results)
    resumed = 0
    for number, result in enumerate(results):
        if result.resumed_from:
            resumed = sum(earlier.steps for earlier in results[:number]) + result.resumed_from
    examples = sum(result.examples_per_second * result.seconds for result in results)
    speed, padding = examples / seconds if seconds else 0.0, results[0].padding
    return Result(history, results[-1].scores, steps, seconds, speed, resumed, padding)
