"""What the listed methods need from other stages: derived from the attributes of each method's class."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from distill.config.params import Params
from distill.methods import registry
from distill.signals.manifest import Request, everything
from distill.signals.states import KINDS, Reads

#: Needs that no cache serves, each with its name in messages.
NOT_KEPT = {"attention": "attention scores", "model": "the model itself"}
#: What stages make for some methods only.
ARTIFACTS = ("filters", "assistant", "generator", "candidates", "augmented")


def needed(params: Params) -> dict[str, bool]:
    """Artifact → whether a listed method needs it. The augmented copies are made by the generator."""
    requested = {artifact for name in params.methods for artifact in artifacts(name, params)}
    return {artifact: artifact in requested for artifact in ARTIFACTS}


def artifacts(name: str, params: Params) -> tuple[str, ...]:
    """The artifacts that a method's student needs, including those that they are made from."""
    names = registry.load(name).artifacts
    if name not in params.augment.methods:
        return names
    return (*names, *(artifact for artifact in ("generator", "augmented") if artifact not in names))


def request(name: str, params: Params, counts: Mapping[str, int], declared: Collection[str]) -> Request:
    """What a method asks stage signals for.

    Args:
        counts: number of layers of `student` and `teacher`; only read for methods that need hidden states.
        declared: dotted names of the parameters that the answer may depend on. A method whose `layer_fields` are not
            among them is given the states of every layer, and the teacher itself: no change of its section can then
            require more.
    """
    kind = registry.load(name)
    copies = name in params.augment.methods
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
    elif kinds := kind.needs & set(KINDS):
        if any(f"{name}.{field}" not in declared for field in kind.layer_fields):
            states = everything(kinds, counts["teacher"])
            why = "the states of all layers, and the teacher: dvc.yaml does not list its layers' parameters under plan"
        elif not (states := kind.reads(params, student=counts["student"], teacher=counts["teacher"])):
            why = "the teacher runs along: the method needs the states of padding too"
    logits = not copies and "model" not in kind.needs
    return Request("teacher", logits, states, bool(why) or starts, why=why, **common)
