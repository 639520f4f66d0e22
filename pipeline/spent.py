"""What the training of every model took: which stages' records belong to it."""

from __future__ import annotations

import json
from typing import Any

from distill.analysis.training_cost import Record, training_cost
from distill.config.params import Params
from distill.methods import registry
from distill.parameters import group_of
from pipeline.stage.stage import record_file

# The stages that make what a group's methods are taught with, besides the model that teaches.
UPSTREAM = {
    "logits": ["predict_teacher"],
    "hidden": ["predict_teacher"],
    "filtered": ["predict_teacher", "train_teacher_filters", "train_student_filters"],
    "assisted": ["predict_teacher", "distill_assistant"],
    "generated": ["train_generator"],
    "retrieved": ["predict_teacher", "retrieve"],
    "augmented": ["train_generator", "augment"],
    "generations": ["train_generations@{method}-{seed}"],
}


def everything(params: Params) -> dict[str, dict[str, Any]]:
    """`training_cost` of teacher, student and every listed method."""
    found = {role: training_cost([record(f"finetune_{role}")], [[]]) for role in ("teacher", "student")}
    for method in params.methods:
        group = group_of(params, method)
        runs = [record(f"distill_{group}@{method}-{seed}") for seed in params.seeds]
        stages = [[record(name) for name in taught_with(method, seed, group)] for seed in params.seeds]
        found[method] = training_cost(runs, stages)
    return found


def records(params: Params) -> dict[str, Record]:
    """What the stages of this run recorded, by stage: not those of methods and seeds that are no longer listed."""
    names = [f"{stage}_{role}" for stage in ("finetune", "evaluate") for role in ("teacher", "student")]
    names += dict.fromkeys(name for stages in UPSTREAM.values() for name in stages if "@" not in name)
    for method in params.methods:
        group = group_of(params, method)
        stages = [f"distill_{group}", f"evaluate_{group}"] + ["train_generations"] * (group == "generations")
        names += [f"{stage}@{method}-{seed}" for stage in stages for seed in params.seeds]
    found = {name: record(name) for name in [*names, "cost"]}
    return {name: own for name, own in found.items() if own is not None}


def taught_with(method: str, seed: int, group: str) -> list[str]:
    """The stages that ran so that this method can learn: none for one that learns from labels alone."""
    kind = registry.load(method)
    if not kind.needs:
        return []
    by_teacher = kind.taught_by in ("teacher", "assistant")
    made = [name.format(method=method, seed=seed) for name in UPSTREAM[group]]
    if not by_teacher:
        made = [name for name in made if name != "predict_teacher"]
    return ["finetune_teacher" if by_teacher else "finetune_student", *made]


def record(stage: str) -> Record | None:
    """What a stage recorded about its run; None where it is not there."""
    path = record_file(stage)
    return json.loads(path.read_text()) if path.exists() else None
