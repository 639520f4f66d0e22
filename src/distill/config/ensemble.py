"""Ensembles: several teachers, the mean of whose probabilities teaches; each has a section of params.yaml of its own.

    teacher:
      source: ensemble
    ensemble:
      members: [second-seed, annotator]

    second-seed:                  # section teacher, with these changes
      teacher: {seed: 2}
    annotator:
      teacher: {source: predictions, predictions: data/raw/mine/annotator.jsonl}

Every member is trained, predicted and scored by stages of its own, so that another member changes nothing of the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from distill.config.data import NO_FILE
from distill.config.schema import Section

if TYPE_CHECKING:
    from distill.config.params import Params

#: The key that makes a section a member's: its changes to section `teacher`.
TEACHER = "teacher"
#: Values of a model and of a tokenizer that a member names but does not complete.
_UNNAMED = {
    "model": {"path": None, "revision": None, "config": {}},
    "tokenizer": {"path": None, "revision": None, "vocab_size": None, "lowercase": None},
}


class Ensemble(Section):
    """The members of an ensemble, and the weights of their probabilities."""

    members: list[str]
    weights: dict[str, Annotated[float, Field(gt=0)]]

    def weight_of_each(self) -> dict[str, float]:
        """The weight of every member, in their order: 1 where none is named."""
        return {name: self.weights.get(name, 1.0) for name in self.members}


def is_member(values: Any) -> bool:
    """Whether a section of params.yaml that is no other section is a member's."""
    return isinstance(values, Mapping) and isinstance(values.get(TEACHER), Mapping)


def settings(teacher: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A member's section `teacher`: a model, unless it says otherwise.

    `model` and `tokenizer` are its own as a whole, and so is what stored predictions need.

    Args:
        teacher: section `teacher`.
        changes: what the member has below `teacher`.
    """
    named = {name: empty | changes[name] for name, empty in _UNNAMED.items() if isinstance(changes.get(name), Mapping)}
    return {**teacher, "source": "model", "predictions": NO_FILE, **changes, **named}


def teachers(params: Params) -> dict[str, Params]:
    """The models that teach, each by the section that describes it, with the parameters in which it is the teacher.

    `teacher` alone, or the members of an ensemble (`second.teacher`); those whose outputs are stored are left out.
    """
    if params.teacher.source != "ensemble":
        each = {TEACHER: params}
    else:
        each = {f"{name}.{TEACHER}": params.as_member(name) for name in params.ensemble.members}
    return {field: own for field, own in each.items() if own.teacher.source == "model"}


def check(params: Params) -> None:
    """Raise a ValueError where the members do not fit the teacher's source, or are not there."""
    ensemble, source = params.ensemble, params.teacher.source
    names = ensemble.members
    if source != "ensemble":
        weighted = {"distill": params.distill} | {f"{name}.distill": v.distill for name, v in params.variants.items()}
        if spread := [field for field, section in weighted.items() if section.spread_weight]:
            raise ValueError(
                f"{spread[0]}.spread_weight: {weighted[spread[0]].spread_weight:g}, but teacher.source is {source!r}:"
                " only members of an ensemble are apart: set it to 0"
            )
        if names:
            raise ValueError(
                f"ensemble.members: {names}, but teacher.source is {source!r}, and nothing reads them: set it to"
                " ensemble, or ensemble.members to []"
            )
        return
    if len(names) < 2 or len(set(names)) != len(names):
        raise ValueError(f"ensemble.members: {names}: an ensemble has two members or more: list each once")
    if strange := [name for name in names if name not in params.members]:
        raise ValueError(
            f"ensemble.members: {strange[0]!r} has no section of its own: add `{strange[0]}:` with `teacher:` and what"
            " differs from section teacher below it"
        )
    if strange := [name for name in ensemble.weights if name not in names]:
        raise ValueError(f"ensemble.weights: {strange[0]!r} is not among ensemble.members {names}: take it out")
    if params.controls.methods and "total" in params.controls.times:
        raise ValueError(
            "controls.times: total: how long the members of an ensemble took is not known to stage control: leave own"
            " alone"
        )
    if nested := [name for name in names if params.members[name].source == "ensemble"]:
        raise ValueError(f"{nested[0]}.teacher.source: a member is a model or predictions: list its members instead")
    for number, name in enumerate(names):
        if same := [other for other in names[:number] if params.members[other] == params.members[name]]:
            raise ValueError(
                f"ensemble.members: {same[0]!r} and {name!r} are the same teacher: change its seed, or take it out"
            )
