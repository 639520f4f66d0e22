"""Section `training`: values that all trainings share, and how the sections of single trainings inherit them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distill.config.schema import (
    Assistant,
    Distill,
    Filters,
    Generator,
    Quantization,
    Student,
    Teacher,
    Training,
    TrainingDefaults,
)

#: The section in params.yaml.
NAME = "training"
#: The sections of single trainings.
SECTIONS: dict[str, type[Training]] = {
    "teacher": Teacher,
    "student": Student,
    "assistant": Assistant,
    "teacher_filters": Filters,
    "student_filters": Filters,
    "generator": Generator,
    "distill": Distill,
    "quantization": Quantization,
}


def shared(section: str) -> list[str]:
    """Names of the values that a section may leave to `training`; none for a section that trains nothing."""
    fields = SECTIONS[section].model_fields if section in SECTIONS else {}
    return [name for name in TrainingDefaults.model_fields if name in fields]


def complete(sections: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of params.yaml, those of trainings with the values of `training` that they do not set."""
    completed = dict(sections)
    values = sections.get(NAME)
    for name in SECTIONS:
        if isinstance(values, Mapping) and isinstance(sections.get(name), Mapping):
            defaults = {field: values[field] for field in shared(name) if field in values}
            completed[name] = defaults | dict(sections[name])
    return completed
