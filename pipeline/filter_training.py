"""What stages train_teacher_filters and train_student_filters do where a method needs filters: TED stage I."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from transformers import PreTrainedModel

from distill import checkpoints, config, models, phases, prediction, processes, states, students
from distill.cache import Cache
from distill.config import Params
from distill.data.prepared import Prepared
from distill.evaluation import Predicted, layout
from distill.filters import FilterBank, FilterTraining, check_counts, selected_layers
from distill.sections import Filters, Predict
from distill.signals import CachedStates
from distill.states import Reads
from distill.tasks.base import Task
from pipeline import common, launch, needs, training, views
from pipeline.inputs import SCORED, open_data
from pipeline.stage import Stage, record_file


def train(name: str, role: str, scores_file: Path, curves: Path) -> None:
    """Train one filter per selected layer on a frozen backbone; keep those that the selection split prefers.

    Args:
        name: of the stage.
        role: `teacher` or `student`.
        scores_file: where each filter's scores on the selection split go.
        curves: where the curves go.
    """
    params = common.params()
    section = getattr(params, f"{role}_filters")
    start = ["distill.init", "student.model", "student.layers", "student.num_layers"]
    own = ["cache", *start] if role == "student" else []
    with Stage(
        name,
        params=config.pick(params, ["task", f"{role}_filters", *SCORED, *own]),
        inputs=[
            needs.file("filters"),
            common.PREPARED,
            common.model("teacher"),
            common.model("student") if role == "student" else common.view(views.FILTERS),
        ],
        outputs=[common.filters(role), scores_file, curves, record_file(name)],
        experiment=params.tracking.experiment,
        tags={"method": "ted", "role": role, "seed": section.seed},
    ) as stage:
        data, task = open_data(params)
        tokenizer = data.tokenizer()
        stage.read(common.model(role), "frozen backbone")
        checkpoints.load_check(common.model("teacher"))
        if role == "teacher":
            backbone = models.from_pretrained(str(common.model(role)), task)
        else:
            backbone = students.initial(
                params.distill.init,
                params.student,
                task,
                tokenizer,
                section.seed,
                common.model("teacher"),
                common.model("student"),
            )
        layers = selected_layers(models.num_layers(backbone.config), section.filter_interval, role)
        if role == "student" and params.methods.get("filtered"):
            teacher = models.num_layers(models.configuration(str(common.model("teacher")), None))
            check_counts(selected_layers(teacher, params.teacher_filters.filter_interval, "teacher"), layers)
        torch.manual_seed(section.seed)
        bank = FilterBank(
            layers, backbone.config.hidden_size, section.filter_output_dim, section.nonlinear, section.activation
        )
        if role == "student":
            kept = own_states(stage, backbone, data, task, layers, section, params)
        elif kept := kept_states(data, layers, section):
            stage.read(common.STATES, "its states over the training features; it runs for the selection split only")
        objective = FilterTraining(backbone, bank, task, section.backbone_dropout, section.head_dropout, kept)

        def score(predicted: Predicted) -> dict[str, float]:
            flat: dict[str, float] = {}
            for k, layer in enumerate(layers):
                scores = task.score(replace(predicted, logits=predicted.logits[..., k]), params.evaluate)
                flat |= {f"layer_{layer}_{metric}": value for metric, value in scores.items()}
            mains = [flat[f"layer_{layer}_{task.main_metric}"] for layer in layers]
            return {task.main_metric: sum(mains) / len(mains), **flat}

        result = training.run(
            stage,
            objective,
            data,
            task,
            section,
            params,
            section.seed,
            f"{role} filters",
            objective.scored_logits,
            score,
        )
        folder = stage.fresh("filters")
        bank.cpu().save(folder)
        training.finish(stage, result, folder, common.filters(role), curves)
        prefixes = {f"layer_{layer}": f"layer_{layer}_" for layer in layers}
        by_layer = {
            name: {k.removeprefix(start): v for k, v in result.scores.items() if k.startswith(start)}
            for name, start in prefixes.items()
        }
        stage.write_json(scores_file, by_layer)
        stage.figures(by_layer)


def kept_states(data: Prepared, layers: list[int], section: Filters) -> CachedStates | None:
    """The teacher's states as stage predict_teacher kept them; None where it would give others here."""
    wanted = Reads.of("hidden", layers)
    if section.backbone_dropout or not views.kept(views.FILTERS, wanted):
        return None
    cache = Cache.open(common.STATES, prediction.identity(data, common.WEIGHTS))
    return CachedStates(cache, wanted) if cache.meta["precision"] == section.precision else None


def own_states(
    stage: Stage,
    backbone: PreTrainedModel,
    data: Prepared,
    task: Task,
    layers: list[int],
    section: Filters,
    params: Params,
) -> CachedStates | None:
    """The frozen student's states over the training features, computed once, in the scratch; a killed run goes on.

    None where it had better run along: the filters see the data at most once, `cache.max_gb` has no room, no two passes
    are the same, or several machines would write into the same files.
    """
    features, width = data.features("train"), backbone.config.hidden_size
    wanted = Reads.of("hidden", layers)
    updates, epoch = phases.updates(section, len(features)), math.ceil(len(features) / section.batch_size)
    if section.backbone_dropout or updates <= epoch or not launch.shares(launch.ONE_MACHINE):
        return None
    offsets = layout(features, per_token=True)
    choice = states.choose({"student": wanted}, offsets, width, params.cache.dtype, params.cache.max_gb * 1e9)
    if not choice.methods:
        return None
    folder, start = stage.scratch / "states", common.model("student") / "model.safetensors"
    arrays = prediction.state_arrays(choice.layers, width, params.cache.dtype)
    settings = Predict(batch_size=section.batch_size, precision=section.precision)
    prediction.write(
        stage.scratch / "logits",
        backbone,
        start,
        data,
        task,
        settings,
        params.runtime,
        "student states",
        states=(folder, arrays),
    )
    processes.wait()  # until the first one has finished the files
    size = choice.sizes["hidden"] / 1e6
    stage.say("keeps", f"its states over the training features ({size:.1f} MB), read {updates / epoch:.1f} times")
    return CachedStates(Cache.open(folder, prediction.identity(data, start)), wanted)
