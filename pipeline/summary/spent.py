"""The cost of every model's training, from the records of its stages."""

from __future__ import annotations

from typing import Any

from distill.analysis.training_cost import Record, training_cost
from distill.config.params import Params
from distill.methods import registry, requirements
from pipeline.process.records import read_record, record_file
from pipeline.stage import paths
from pipeline.stage.artifacts import MADE_BY


def training_costs(params: Params) -> dict[str, dict[str, Any]]:
    """`training_cost` of teacher, student and every listed method; of a teacher that is no model none is known."""
    costs = {"teacher": _teacher_cost(params), "student": training_cost([_trained("finetune_student")], [[]])}
    for method in params.methods:
        runs = [record(f"distill@{paths.label(method, seed)}") for seed in params.seeds_of(method)]
        stages = [record(name) for name in upstream(method, params)]
        costs[method] = training_cost(runs, [stages for _ in runs])
    return costs


def records(params: Params) -> dict[str, Record]:
    """The records of this run's stages by stage, without methods and seeds that are no longer listed."""
    names = [f"{stage}_{role}" for stage in ("finetune", "evaluate") for role in ("teacher", "student")]
    names += [f"{stage}_member@{name}" for name in params.ensemble.members for stage in ("finetune", "predict")]
    names += ["predict_teacher", *(stage for stages in MADE_BY.values() for stage in stages)]
    runs = [paths.label(method, seed) for method in params.methods for seed in params.seeds_of(method)]
    runs += [paths.label(method, seed) for method in params.confirm.methods for seed in params.confirm.seeds]
    names += [f"{stage}@{run}" for run in runs for stage in ("distill", "evaluate")]
    facts = {name: record(name) for name in [*names, "cost"]}
    return {name: content for name, content in facts.items() if content is not None}


def upstream(method: str, params: Params) -> list[str]:
    """The stages whose outputs this method learns from: none for one that learns from labels alone."""
    kind = registry.load(params.method_of(method))
    if not kind.needs:
        return []
    if kind.taught_by not in ("teacher", "assistant"):
        return ["finetune_student"]
    cached = method not in params.augment.methods and "model" not in kind.needs
    makers = [stage for artifact in requirements.artifacts(method, params) for stage in MADE_BY.get(artifact, ())]
    return [*_teachers(params), *(["predict_teacher"] if cached else []), *makers]


def _teachers(params: Params) -> list[str]:
    """The stages that make the teacher, or the members of the ensemble and their outputs."""
    members = [f"{stage}_member@{name}" for name in params.ensemble.members for stage in ("finetune", "predict")]
    return members or ["finetune_teacher"]


def _teacher_cost(params: Params) -> dict[str, Any]:
    """`training_cost` of the teacher; of an ensemble the seconds of all members together."""
    if not params.ensemble.members:
        return training_cost([_trained("finetune_teacher")], [[]])
    together = training_cost([], [[record(name) for name in _teachers(params)]])
    seconds = together["teacher_seconds"]
    return together | {"seconds": seconds, "total_seconds": seconds, "teacher_seconds": 0.0}


def _trained(stage: str) -> Record | None:
    """The record of a training; None where there is none, or nothing was to be trained."""
    found = record(stage)
    return found if found and found.get("needed", True) else None


def record(stage: str) -> Record | None:
    """The record of a stage's run; None where there is none.

    Raises:
        UserError: it is damaged.
    """
    path = record_file(stage)
    return read_record(path) if path.exists() else None
