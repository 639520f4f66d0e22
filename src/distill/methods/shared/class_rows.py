"""The class distributions that a task's logits hold, one beside the other, and how many classes there are."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from distill.config.params import Params
from distill.tasks.base import Task

#: What a section may set that means nothing for two classes → why.
TWO_CLASSES = {
    "standardize": "standardised logits of two classes are ±0.7071, whatever they were",
    "decoupled": "of two classes the rest is a single one, whose distribution is always 1",
}


@dataclass(frozen=True)
class ClassRows:
    """Logits of one choice among classes, a row for each row of the batch.

    Attributes:
        logits: (B, classes).
        gold: (B,), int64; outside 0…classes − 1, or where no class exists, where there is no label.
        mask: (B, classes), true where a class exists; None: all do.
    """

    logits: Tensor
    gold: Tensor
    mask: Tensor | None


def split(task: Task, logits: Tensor, batch: dict[str, Tensor]) -> list[ClassRows]:
    """One for each label column: of questions start and end, whose classes are the real tokens; none without classes.

    Args:
        logits: as `Task.logits` gives them.
    """
    if not task.has_classes:
        return []
    mask = batch["attention_mask"].bool() if task.per_token else None
    sides = logits.unbind(-1) if task.per_token else (logits,)
    return [ClassRows(side, batch[column], mask) for side, column in zip(sides, task.labels, strict=True)]


def stated(params: Params) -> int | None:
    """Number of classes where the parameters list them; None where only the data have it, or the task has none."""
    return len(params.data.labels) if params.task == "classification" and params.data.labels else None


def counted(task: Task) -> int | None:
    """Number of a task's classes; None where it differs from row to row, or the task has none."""
    return task.channels if task.has_classes and not task.per_token else None
