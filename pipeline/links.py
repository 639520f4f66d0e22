"""Several trainings in one stage, each learning from the model that the one before it left.

A training that is over is kept as a sealed folder in the scratch: a killed stage goes on in the link in which it was.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from transformers import PreTrainedModel

from distill.config.params import Params
from distill.config.schema import Training
from distill.data.loading.prepared import Prepared
from distill.methods.base import Distillation
from distill.models import loading
from distill.runtime import checkpoints
from distill.runtime.files import publish
from distill.tasks.base import Task
from distill.training.trainer import Result
from pipeline.stage import training
from pipeline.stage.stage import Stage


def train(
    stage: Stage,
    number: int,
    make: Callable[[], tuple[PreTrainedModel, Distillation]],
    data: Prepared,
    task: Task,
    section: Training,
    params: Params,
    seed: int,
    label: str,
    earlier: Sequence[Result],
) -> tuple[Path, Result]:
    """Train link `number` (from 1), or find it trained.

    Args:
        make: the student and the objective that trains it; called only where there is something left to train.
        earlier: the results of the links before.

    Returns:
        Folder of a plain checkpoint in the scratch, and the training's result.
    """
    folder = stage.scratch / f"link-{number}"
    done = folder / "done"
    if not checkpoints.is_complete(done):
        student, objective = make()
        result = training.run_model(
            stage,
            objective,
            student,
            data,
            task,
            section,
            params,
            seed,
            label,
            folder=folder,
            offset=sum(before.steps for before in earlier),
        )
        draft = folder / "done.draft"
        shutil.rmtree(draft, ignore_errors=True)
        loading.save(student, data.tokenizer(), draft / "model")
        (draft / "result.json").write_text(json.dumps(asdict(result)))
        checkpoints.seal(draft)
        publish(draft, done)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # nothing resumes from them any more
    result = Result(**json.loads((done / "result.json").read_text()))
    stage.say("trained", f"{label}, {result.steps:,} updates")
    return done / "model", result


def joined(results: Sequence[Result], name: str) -> Result:
    """The trainings as one: steps go on counting, and every entry says in column `name` which link it is of."""
    history, steps, resumed = [], 0, 0
    for number, result in enumerate(results, start=1):
        history += [entry | {"step": entry["step"] + steps, name: number} for entry in result.history]
        resumed = steps + result.resumed_from if result.resumed_from else resumed
        steps += result.steps
    seconds = sum(result.seconds for result in results)
    examples = sum(result.examples_per_second * result.seconds for result in results)
    scores = results[-1].scores if results else {}
    padding = results[0].padding if results else 0.0
    return Result(history, scores, steps, seconds, examples / seconds if seconds else 0.0, resumed, padding)
