"""Which settings of trainings go with which task: impossible combinations, found before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from distill.config.training import SECTIONS

if TYPE_CHECKING:
    from distill.config.params import Params

#: Tasks with a head of one row for each class.
WITH_CLASSES = ("classification", "multi_label", "token_classification")


def check(params: Params) -> None:
    """Raise a ValueError where the sections of trainings do not fit the task."""
    teachers = {"teacher": params.teacher} | {f"{name}.teacher": member for name, member in params.members.items()}
    for field, teacher in teachers.items():
        if teacher.labels is not None and params.task not in WITH_CLASSES:
            raise ValueError(
                f"{field}.labels is {teacher.labels} but task is {params.task!r}, whose heads have no classes: set"
                " it to null"
            )
    _check_class_weights(params)


def _check_class_weights(params: Params) -> None:
    for name, lack in (("class_weights", "no classes"), ("patience", "no score")):
        if (value := getattr(params.generator, name)) != getattr(params.training, name):
            raise ValueError(f"generator.{name} is {value}, but a generator has {lack}: take it out")
    for field, weights in _class_weights(params):
        if params.task not in WITH_CLASSES:
            raise ValueError(f"{field} is {weights} but task is {params.task!r}, which has no classes: set it to null")
        if not params.data.has_labels:
            raise ValueError(f"{field} is {weights} but no row has a label to weigh (data.train): set it to null")
        if isinstance(weights, Mapping) and params.data.labels is not None:
            classes = params.data.labels
            if wrong := [name for name in weights if name not in classes] or [
                name for name in classes if name not in weights
            ]:
                raise ValueError(
                    f"{field} is {weights} but data.labels is {classes}: {wrong[0]!r} is in one of them alone: give"
                    " each class a weight"
                )


def _class_weights(params: Params) -> Iterator[tuple[str, Any]]:
    """Dotted name and value of every `class_weights` that is set; a value of section `training` once."""
    shared = params.training.class_weights
    values = {"training": shared} | {
        name: getattr(params, name).class_weights for name in SECTIONS if name != "generator"
    }
    values |= {f"{name}.teacher": member.class_weights for name, member in params.members.items()}
    values |= {f"{name}.distill": variant.distill.class_weights for name, variant in params.variants.items()}
    for name, value in values.items():
        if value is not None and (name == "training" or value != shared):
            yield f"{name}.class_weights", value
