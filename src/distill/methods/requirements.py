"""What the listed methods need from other stages: derived from the attributes of each method's class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distill.config import ensemble
from distill.config.params import Params
from distill.methods import registry
from distill.signals.manifest import Request
from distill.signals.states import KINDS, Reads

#: Needs that no cache serves, each with its name in messages.
NOT_KEPT = {"attention": "attention scores", "qkv": "queries, keys and values", "model": "the model itself"}
#: What stages make for some methods only.
ARTIFACTS = ("filters", "assistant", "generator", "candidates", "augmented", "snapshots")


def needed(params: Params) -> dict[str, bool]:
    """Artifact → whether a listed method needs it. The augmented copies are made by the generator."""
    requested = {artifact for name in params.methods for artifact in artifacts(name, params)}
    return {artifact: artifact in requested for artifact in ARTIFACTS}


def artifacts(name: str, params: Params) -> tuple[str, ...]:
    """The artifacts that a listed name's student needs, including those that they are made from."""
    names = registry.load(params.method_of(name)).artifacts
    if params.snapshot_of(name):
        return (*names, "snapshots")
    if name not in params.augment.methods:
        return names
    return (*names, *(artifact for artifact in ("generator", "augmented") if artifact not in names))


def deciding(name: str, params: Params) -> dict[str, Any]:
    """All that decides what a listed name needs of earlier stages, besides the models: its method and a few values.

    Stage plan depends on these values, and not on all of the name's settings.
    """
    method = params.method_of(name)
    kind, settings = registry.load(method), params.sections[name].model_dump()
    values = {field: settings[field] for field in kind.layer_fields}
    snapshot = {"teacher_snapshot": number} if (number := params.snapshot_of(name)) else {}
    return {"method": method, "start": kind.start(params.resolved(name)), **values, **snapshot}


def deciding_models(params: Params) -> dict[str, Any]:
    """What else stage plan depends on and no parameter of dvc.yaml can name, by a key that no method has.

    The models of an ensemble's members, and the sections that are trained in bf16; empty where there are none.
    """
    each = {field: own.teacher.model for field, own in ensemble.teachers(params).items() if field != ensemble.TEACHER}
    members = {field: model.model_dump() for field, model in each.items()}
    found = {"ensemble.members": members, "training.precision": sorted(in_half_precision(params))}
    return {key: value for key, value in found.items() if value}


def in_half_precision(params: Params) -> set[str]:
    """The models that are trained in bf16, by their sections: `teacher`, `second.teacher`, `student`, …"""
    trained = {field: [own.teacher] for field, own in ensemble.teachers(params).items()}
    trained["student"] = [params.student, *(params.resolved(name).distill for name in params.methods)]
    trained |= {"assistant": [params.assistant], "generator": [params.generator]}
    return {field for field, sections in trained.items() if any(section.precision == "bf16" for section in sections)}


def request(name: str, params: Params, counts: Mapping[str, int]) -> Request:
    """What a listed name asks stage signals for.

    Args:
        counts: number of layers of `student` and `teacher`; only read for methods that need hidden states.
    """
    copies, kind = name in params.augment.methods, registry.load(params.method_of(name))
    snapshot = params.snapshot_of(name)
    params = params.resolved(name)
    starts = kind.start(params) == "teacher_layers"
    common = {"artifacts": kind.artifacts, "copies": copies}
    if not kind.needs:
        return Request(model=starts, **common)
    if kind.taught_by != "teacher":
        return Request(kind.taught_by, model=starts, **common)
    states, why = Reads(), ""
    if copies:
        why = "the teacher runs along: the method learns from augmented copies"
    elif more := [what for need, what in NOT_KEPT.items() if need in kind.needs]:
        why = f"the teacher runs along: the method needs {' and '.join(more)}"
    elif kind.needs & set(KINDS):
        states = kind.reads(params, student=counts["student"], teacher=counts["teacher"])
        why = "" if states else "the teacher runs along: the method needs the states of padding too"
    logits = not copies and "model" not in kind.needs
    return Request("teacher", logits, states, bool(why) or starts, why=why, snapshot=snapshot, **common)
