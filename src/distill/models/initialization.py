"""Initialisation of a student: one setting for all methods of a run, so that they differ in nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from distill.config.schema import Link, Model, Student
from distill.errors import UserError, reason
from distill.models import layer_maps, loading, pruning
from distill.models.shape import FAMILY_FIELDS, num_layers, with_layers
from distill.runtime import checkpoints
from distill.tasks.base import Task

#: Makes labelled batches, by which the most important units of a layer are chosen.
Batches = Callable[[], Iterable[Mapping[str, Tensor]]]


def initial_student(
    init: str,
    section: Student | Link,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    teacher: Path,
    student: Path | None = None,
    where: str = "student",
    say: loading.Say | None = None,
    batches: Batches | None = None,
) -> PreTrainedModel:
    """The student before its first update.

    Args:
        init: `finetuned` (the model in `student`) | `pretrained` | `teacher_layers` (of the model in `teacher`) |
            `random` (the shape of the model in `student`, or of `section.model`).
        section: the student's parameters.
        seed: seed of everything random: a new head, random weights.
        teacher: folder of the fine-tuned teacher; read for `teacher_layers` only.
        student: folder of the fine-tuned student, where it exists already.
        where: the section's name, for error messages.
        say: receives remarks on a checkpoint's head.
        batches: labelled batches (`models.labelled_batches`), read for `teacher_layers` where the student's layers are
            narrower than the teacher's.
    """
    if init == "finetuned":
        checkpoints.load_check(student)
        return loading.from_pretrained(str(student), task)
    if init == "teacher_layers":
        checkpoints.load_check(teacher)
        source = loading.from_pretrained(str(teacher), task)
        layers = teacher_layers(section, num_layers(source.config), where)
        return from_layers(section.model, source, layers, task, seed, where, batches, say)
    spec = section.model
    if init == "random" and student is not None:
        config = loading.configuration(str(student), None)
    elif init == "random" and spec.path is not None:
        config = loading.configuration(spec.path, spec.revision, spec.config, where)
        family = FAMILY_FIELDS.get(config.model_type, {})
        config.update({name: value for name, value in family.items() if name not in spec.config})
    else:
        return loading.build(spec, task, tokenizer, seed, where, say)
    config.update(task.model_fields())
    set_seed(seed)
    return task.auto_class().from_config(config, dtype=torch.float32)


def teacher_layers(section: Student | Link, available: int, where: str = "student") -> list[int]:
    """The teacher's layers (from 1) that the student copies.

    Raises:
        UserError: their number is not stated, or the teacher has too few.
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
        contradiction = ", ".join(f"{name} is {count}" for name, count in counts.items())
        raise UserError(f"params.yaml: {where}: {contradiction}: set all to one number, or set only one of them")
    count = next(iter(counts.values()))
    return layer_maps.resolve(section.layers, count, available, f"{where}.layers")


def check_copy(section: Student | Link, source: PretrainedConfig, task: Task, where: str) -> PretrainedConfig:
    """Refuse a student that cannot be made of a model's layers, before that model is trained; no weights are made.

    Args:
        section: the student's parameters.
        source: configuration of the model whose layers are copied.
        where: the section's name, for error messages.

    Returns:
        the student's configuration; the source's where no model can be built from that without its weights: the stage
        that makes the student then tells.

    Raises:
        UserError: as `teacher_layers` and `from_layers`.
    """
    layers = teacher_layers(section, num_layers(source), where)
    with torch.device("meta"):
        try:
            model = task.auto_class().from_config(source, dtype=torch.float32)
        except Exception:  # each architecture has exceptions of its own
            return source
        return from_layers(section.model, model, layers, task, 0, where).config


def from_layers(
    spec: Model,
    teacher: PreTrainedModel,
    layers: list[int],
    task: Task,
    seed: int,
    where: str = "student",
    batches: Batches | None = None,
    say: loading.Say | None = None,
) -> PreTrainedModel:
    """A student whose layer i is a copy of the teacher's layer `layers[i]` (from 1).

    Everything that does not belong to a numbered layer is copied too where the student has it: embeddings, head, and
    DeBERTa's `rel_embeddings` and `LayerNorm`. Of feed-forward units and heads, where the student has fewer, the most
    important ones stay (`models.pruning`).

    Args:
        batches: labelled batches that importance is measured on; None: the shapes are all that matters.
        say: receives a remark on what is left out.

    Raises:
        UserError: the two differ in architecture or width.
    """
    set_seed(seed)
    if (kind := spec.config.get("model_type", teacher.config.model_type)) != teacher.config.model_type:
        raise UserError(
            f"params.yaml: {where}.model.config.model_type: {kind!r}, but teacher_layers copies a"
            f" {teacher.config.model_type}: give the student the teacher's model_type, or choose another init"
        )
    loading.check_fields(teacher.config, spec.config, where)
    teacher_heads = getattr(teacher.config, "num_attention_heads", None)  # FNet has no attention
    heads = spec.config.get("num_attention_heads", teacher_heads)
    if heads != teacher_heads and (teacher_heads is None or heads > teacher_heads):
        raise UserError(
            f"params.yaml: {where}.model.config.num_attention_heads: {heads}, but teacher_layers copies"
            f" {teacher_heads} heads, whose weights mean nothing cut otherwise: leave it out"
        )
    fields = {k: v for k, v in spec.config.items() if k not in ("model_type", "num_hidden_layers")}
    cuts, changed = pruning.narrowed(teacher, fields, layers, where)
    fields |= changed
    try:
        config = with_layers(teacher.config, layers, fields)
        student = task.auto_class().from_config(config, dtype=torch.float32)
    except Exception as error:  # shapes are checked all over transformers, by every kind of exception
        raise UserError(
            f"params.yaml: {where}.init: teacher_layers: a {teacher.config.model_type} of {len(layers)} of the"
            f" teacher's {num_layers(teacher.config)} layers cannot be built ({reason(error)}): choose another"
            f" init, or correct {where}.model.config"
        ) from error
    for remark in pruning.remarks(cuts) if say else ():
        say(f"{where}: {remark}")
    kept = pruning.choose(teacher, task, cuts, batches() if batches else None)
    source = {name: pruning.slice_of(tensor, kept.get(name)) for name, tensor in teacher.state_dict().items()}
    target = student.state_dict()
    if not any(loading.LAYER.match(name) for name in target):
        raise UserError(
            f"params.yaml: {where}.init: {config.model_type} has no numbered layers to copy: choose another init"
        )
    for name, tensor in target.items():
        origin = name
        if match := loading.LAYER.match(name):
            layer = layers[int(match[2])]
            origin = f"{match[1]}{layer - 1}{match[3]}"
            if origin not in source:  # ModernBERT's first layer has no norm of its own
                raise UserError(
                    f"params.yaml: {where}.layers: {layers}: the teacher's layer {layer} has no {match[3][1:]}, which"
                    f" layer {int(match[2]) + 1} of a {config.model_type} needs: let the teacher's layer {layer} be"
                    " the student's first or leave it out"
                )
        if origin not in source or source[origin].shape != tensor.shape:
            have = tuple(source[origin].shape) if origin in source else "nothing"
            raise UserError(
                f"params.yaml: {where}.model.config: teacher_layers copies {origin}, the student needs"
                f" {tuple(tensor.shape)}, the teacher has {have}: give the student the teacher's widths, or choose"
                " another init"
            )
        tensor.copy_(source[origin])
    return student
