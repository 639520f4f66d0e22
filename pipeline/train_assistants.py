"""Stage train_assistants: each learns from the logits of the model before it, the first from the teacher's.

`python -m pipeline.train_assistants`
"""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from distill.config.params import Params
from distill.data.loading import tokenizer as tokenizers
from distill.data.loading.prepared import Prepared
from distill.methods.base import Distillation, Setup
from distill.methods.takd import AssistedDistillation, assistants_config
from distill.models import loading, windows
from distill.models.initialization import initial_student
from distill.models.labelled_batches import labelled_batches
from distill.runtime import checkpoints
from distill.runtime.files import publish
from distill.signals import row_weights, writer
from distill.signals.cache import Cache, complete
from distill.signals.teacher import CachedTeacher
from distill.tasks.base import Task
from distill.training import sequence
from distill.training.run import TrainingRun, join
from distill.training.sequence import Link
from pipeline.launch.run import run_stage
from pipeline.stage import artifacts, paths, training
from pipeline.stage.definition import define
from pipeline.stage.inputs import open_data, with_class_weights
from pipeline.stage.stage import Stage

if TYPE_CHECKING:
    from transformers import PreTrainedModel

METHOD = "takd"


def main() -> None:
    """All assistants as plain checkpoints `1`, `2`, …, and the logits of the last over the training features."""
    params, curves = paths.params(), paths.METRICS / "curves" / "assistant.csv"
    tags = {"method": METHOD, "role": "assistant", "seed": params.assistant.seed}
    with Stage(define("train_assistants"), params, tags=tags) as stage:
        data, task = open_data(params, chooses=params.assistant.chooses)
        task = with_class_weights(stage, data, task, params.assistant, "assistant")
        stage.read(paths.PREPARED, f"{data.meta['splits']['train']['features']:,} training features")
        if artifacts.is_checkpoint(paths.model("teacher")):
            checkpoints.load_check(paths.model("teacher"))

        def logits(number: int) -> Path:
            return stage.scratch / f"logits-{number}" if number else paths.PREDICTIONS

        def trained(link: Link) -> None:
            stage.say("trained", f"assistant {link.number}, {link.result.steps:,} updates")
            predict(logits(link.number), link, params, data, task)

        def start(number: int, before: Path) -> tuple[PreTrainedModel, TrainingRun]:
            return begin(stage, params, data, task, number, before, logits(number - 1))

        count = len(params.assistant.chain)
        links = sequence.train(count, paths.model("teacher"), stage.scratch, data.tokenizer(), start, trained)
        results = [link.result for link in links]
        built = stage.fresh("assistant")
        for link in links:
            shutil.copytree(link.model, built / str(link.number))
        os.rename(logits(count), built / "logits")  # killed after this, the stage computes them again
        (built / "logits" / checkpoints.MANIFEST).unlink()
        training.finish(stage, join(results, "link"), built, paths.ASSISTANT, curves)
        scores = {f"assistant {number}": result.scores for number, result in enumerate(results, start=1)}
        shown = {label: {k: row[k] for k in task.shown if k in row} for label, row in scores.items() if row}
        stage.figures({"updates": sum(result.steps for result in results), **shown})


def begin(
    stage: Stage, params: Params, data: Prepared, task: Task, number: int, before: Path, logits: Path
) -> tuple[PreTrainedModel, TrainingRun]:
    """An assistant before its first update, and its training.

    Args:
        before: folder of the model before it in the chain.
        logits: folder of that model's logits over the training features.

    Raises:
        UserError: the assistant cannot read the data, or is the model before it.
    """
    section, tokenizer, seed = params.assistant, data.tokenizer(), params.assistant.seed + number - 1
    link, where = section.chain[number - 1], f"assistant.chain.{number - 1}"
    if link.model.path:
        tokenizers.check_same(link.model.path, link.model.revision, tokenizer, f"{where}.model.path")
    note = functools.partial(stage.say, "note")
    batches = functools.partial(labelled_batches, data, task)
    assistant = initial_student(link.init, link, task, tokenizer, seed, before, where=where, say=note, batches=batches)
    for remark in windows.check(assistant, task, data, tokenizer.pad_token_id, section.precision, where):
        note(remark)
    weights, taught_by = None, None
    if artifacts.is_checkpoint(before):
        loading.check_different(assistant, checkpoints.tensor_hashes(before), before, where)
        weights, taught_by = before / "model.safetensors", loading.configuration(str(before), None)
    stage.read(logits, f"what assistant {number} learns from")
    torch.manual_seed(seed)
    setup = Setup(task, assistant.config, taught_by, seed, tokenizer)
    cache = Cache.open(logits, writer.identity(data, weights))
    method = AssistedDistillation(assistants_config(params), setup)
    objective = Distillation(assistant, method, CachedTeacher(cache))
    inputs, label = (stage, params, data, task, section), f"assistant {number}"
    share, weigh = params.distill.transfer_share, functools.partial(row_weights.beside, cache, 0.0)
    return assistant, training.build_run(*inputs, objective, seed, label, transfer_share=share, weigh=weigh)


def predict(logits: Path, assistant: Link, params: Params, data: Prepared, task: Task) -> None:
    """Write the logits of a finished assistant over the training features into a sealed folder.

    Args:
        logits: the folder; where it is complete already, it stays as it is.
    """
    if not checkpoints.is_complete(logits):
        draft = logits.with_name(f"{logits.name}.draft")
        model = loading.from_pretrained(str(assistant.model), task)
        weights, label = assistant.model / "model.safetensors", f"predict {assistant.number}"
        writer.write(draft, model, weights, data, task, params.predict, params.runtime, label)
        checkpoints.seal(complete(draft))
        publish(draft, logits)


if __name__ == "__main__":
    run_stage(main)
