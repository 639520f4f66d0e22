"""How many classes a task's distributions (`Task.class_rows`) have, and what makes no sense for two."""

from __future__ import annotations

from distill.config.params import Params
from distill.tasks.base import Task

#: What a section may set that means nothing for two classes → why.
TWO_CLASSES = {
    "standardize": "standardised logits of two classes are ±0.7071, whatever they were",
    "decoupled": "of two classes the rest is a single one, whose distribution is always 1",
}


def stated(params: Params) -> int | None:
    """Number of classes of a choice where the parameters tell it; None where only the data do, or the task has none.

    Several labels per text are as many choices of two classes, true or false.
    """
    if params.task == "multi_label":
        return 2
    if params.task == "ranking":
        return 2 if params.data.max_passages == 2 else None
    lists = params.task in ("classification", "token_classification") and params.data.labels
    return len(params.data.labels) if lists else None


def counted(task: Task) -> int | None:
    """Number of classes of a choice; None where it differs from row to row, or the task has none."""
    if task.logits_of == "labels":
        return 2
    return task.channels if task.logits_of == "classes" else None
