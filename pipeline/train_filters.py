"""Stages train_teacher_filters and train_student_filters (TED stage I). `python -m pipeline.train_filters teacher`"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from distill.config.params import Params
from distill.config.schema import Filters, Predict
from distill.data.loading.prepared import Prepared
from distill.methods.shared.filters import FilterBank, FilterTraining, check_counts, selected_layers
from distill.models import loading
from distill.models.initialization import initial_student
from distill.models.labelled_batches import labelled_batches
from distill.models.predict import layout
from distill.models.shape import num_layers
from distill.runtime import checkpoints, distributed
from distill.signals import states, writer
from distill.signals.cache import Cache
from distill.signals.states import Reads
from distill.signals.teacher import CachedStates
from distill.tasks.base import Predicted, Task
from distill.training import phases
from pipeline.launch import launcher
from pipeline.launch.run import run_stage
from pipeline.stage import paths, training
from pipeline.stage.definition import define
from pipeline.stage.inputs import open_data, with_class_weights, with_label_noise
from pipeline.stage.stage import Stage

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def main(role: str) -> None:
    """Train one filter per selected layer on a frozen backbone; keep those that the selection split prefers."""
    role, params = paths.role_of(role), paths.params()
    curves = paths.METRICS / "curves" / f"filters-{role}.csv"
    scores_file = paths.METRICS / "filters" / f"{role}.json"
    section = getattr(params, f"{role}_filters")
    with Stage(
        define("train_filters", role), params, tags={"method": "ted", "role": role, "seed": section.seed}
    ) as stage:
        data, task = open_data(params, chooses=section.chooses)
        if role == "student":  # they learn from the labels that the fine-tuned student has seen
            data = with_label_noise(stage, data, task, params.student.label_noise, section.seed)
        task = with_class_weights(stage, data, task, section, f"{role}_filters")
        tokenizer = data.tokenizer()
        stage.read(paths.model(role), "frozen backbone")
        checkpoints.load_check(paths.model("teacher"))
        if role == "teacher":
            backbone = loading.from_pretrained(str(paths.model(role)), task)
        else:
            backbone = initial_student(
                params.distill.init,
                params.student,
                task,
                tokenizer,
                section.seed,
                paths.model("teacher"),
                paths.model("student"),
                batches=functools.partial(labelled_batches, data, task),
            )
        layers = selected_layers(num_layers(backbone.config), section.filter_interval, role)
        if role == "student":
            teacher = num_layers(loading.configuration(str(paths.model("teacher")), None))
            check_counts(selected_layers(teacher, params.teacher_filters.filter_interval, "teacher"), layers)
        torch.manual_seed(section.seed)
        bank = FilterBank(
            layers, backbone.config.hidden_size, section.filter_output_dim, section.nonlinear, section.activation
        )
        if role == "student":
            cached = student_states(stage, backbone, data, task, layers, section, params)
        elif cached := teacher_states(data, layers, section):
            stage.read(paths.FILTER_STATES, "its states; it runs for the selection split only")
        objective = FilterTraining(backbone, bank, task, section.backbone_dropout, section.head_dropout, cached)

        def score(predicted: Predicted) -> dict[str, float]:
            flat: dict[str, float] = {}
            for k, layer in enumerate(layers):
                scores = task.score(replace(predicted, logits=predicted.logits[..., k]), params.evaluate)
                flat |= {f"layer_{layer}_{metric}": value for metric, value in scores.items()}
            mains = [flat[f"layer_{layer}_{task.main_metric}"] for layer in layers]
            return {task.main_metric: sum(mains) / len(mains), **flat}

        inputs, label = (stage, params, data, task, section), f"{role} filters"
        result = phases.train(training.build_run(*inputs, objective, section.seed, label, score))
        folder = stage.fresh("filters")
        bank.cpu().save(folder)
        training.finish(stage, result, folder, paths.filters(role), curves)
        prefixes = {f"layer_{layer}": f"layer_{layer}_" for layer in layers}
        by_layer = {
            name: {k.removeprefix(start): v for k, v in result.scores.items() if k.startswith(start)}
            for name, start in prefixes.items()
        }
        stage.write_json(scores_file, by_layer)
        stage.figures(by_layer)


def teacher_states(data: Prepared, layers: list[int], section: Filters) -> CachedStates | None:
    """The teacher's states that stage predict_teacher kept; None where they are missing, or would differ here."""
    reads = Reads.of("hidden", layers)
    if section.backbone_dropout:
        return None
    cache = Cache.open(paths.FILTER_STATES, writer.identity(data, paths.WEIGHTS))
    usable = set(reads.names()) <= set(cache.arrays) and cache.meta["precision"] == section.precision
    return CachedStates(cache, reads) if usable else None


def student_states(
    stage: Stage,
    backbone: PreTrainedModel,
    data: Prepared,
    task: Task,
    layers: list[int],
    section: Filters,
    params: Params,
) -> CachedStates | None:
    """The frozen student's states over the training features, computed once, in the scratch; a killed run resumes.

    None where the student runs along instead: the filters see the data at most once, `cache.max_gb` has no room, no two
    passes are the same, or several machines would write into the same files.
    """
    features, width = data.features("train"), backbone.config.hidden_size
    wanted = Reads.of("hidden", layers)
    epoch = math.ceil(data.epoch_rows / training.in_units(section, data).batch_size)
    updates = training.updates(section, data)
    if section.backbone_dropout or updates <= epoch or not launcher.shares(launcher.ONE_MACHINE):
        return None
    offsets = layout(features, per_token=True)
    choice = states.choose({"student": wanted}, offsets, width, params.cache.dtype, params.cache.max_gb * 1e9)
    if not choice.methods:
        return None
    folder, start = stage.scratch / "states", paths.model("student") / "model.safetensors"
    arrays = writer.state_arrays(choice.layers, width, params.cache.dtype)
    settings = Predict(batch_size=section.batch_size, precision=section.precision)
    writer.write(
        stage.scratch / "logits",
        backbone,
        start,
        data,
        task,
        settings,
        params.runtime,
        "student states",
        features=features,
        states=(folder, arrays),
    )
    distributed.wait()  # until rank 0 has finished the files
    size = choice.sizes["hidden"] / 1e6
    stage.say("keeps", f"its states over the training features ({size:.1f} MB), read {updates / epoch:.1f} times")
    return CachedStates(Cache.open(folder, writer.identity(data, start)), wanted)


if __name__ == "__main__":
    run_stage(main)
