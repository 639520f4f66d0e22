"""How a student starts: one setting for every method of a run, so that methods differ in nothing else."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from distill import checkpoints, layer_maps, models
from distill.errors import UserError
from distill.sections import Link, Student
from distill.tasks.base import Task


def initial(
    init: str,
    section: Student | Link,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    teacher: Path,
    student: Path | None = None,
    where: str = "student",
) -> PreTrainedModel:
    """The student before its first update.

    Args:
        init: `finetuned` (the model in `student`) | `pretrained` | `teacher_layers` (of the model in `teacher`) |
            `random` (the shape of the model in `student`, or of `section.model`).
        section: the student's parameters.
        seed: of everything that is drawn: a new head, random weights.
        teacher: folder of the fine-tuned teacher; read for `teacher_layers` only.
        student: folder of the fine-tuned student, where it exists already.
        where: the section's name, for error messages.
    """
    if init == "finetuned":
        checkpoints.load_check(student)
        return models.from_pretrained(str(student), task)
    if init == "teacher_layers":
        checkpoints.load_check(teacher)
        source = models.from_pretrained(str(teacher), task)
        layers = teacher_layers(section, models.num_layers(source.config), where)
        return models.from_layers(section.model, source, layers, task, seed, where)
    spec = section.model
    if init == "random" and student is not None:
        config = models.configuration(str(student), None)
    elif init == "random" and spec.path is not None:
        config = models.configuration(spec.path, spec.revision, spec.config, where)
    else:
        return models.build(spec, task, tokenizer, seed, where)
    config.update(task.model_fields())
    set_seed(seed)
    return task.auto_class().from_config(config, dtype=torch.float32)


def teacher_layers(section: Student | Link, available: int, where: str = "student") -> list[int]:
    """The teacher's layers (from 1) that the student copies.

    Raises:
        UserError: it is not said how many, or the teacher has too few.
    """
    stated = {
        f"{where}.num_layers": section.num_layers,
        f"{where}.model.config.num_hidden_layers": section.model.config.get("num_hidden_layers"),
        f"the length of {where}.layers": len(section.layers) if isinstance(section.layers, list) else None,
    }
    counts = {name: count for name, count in stated.items() if count is not None}
    if not counts:
        raise UserError(
            f"params.yaml: {where}.num_layers: null: say how many of the teacher's layers the student takes"
        )
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} is {count}" for name, count in counts.items())
        raise UserError(f"params.yaml: {where}: {said}: say the same, or say it once")
    count = next(iter(counts.values()))
    return layer_maps.resolve(section.layers, count, available, f"{where}.layers")
