"""Checkpoints that are taken as they are (`teacher.train: false`), judged by their configuration.

No training corrects a wrong guess there, so nothing is guessed: the head must be that of the task, and its classes are
matched with the data's by name, never by place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from distill.data.loading import class_names
from distill.errors import UserError, reason

if TYPE_CHECKING:
    from transformers import PretrainedConfig

#: Task → how transformers calls the models that have its head.
HEADS = {
    "qa": "ForQuestionAnswering",
    "classification": "ForSequenceClassification",
    "regression": "ForSequenceClassification",
    "multi_label": "ForSequenceClassification",
    "token_classification": "ForTokenClassification",
    "ranking": "ForSequenceClassification",
}


def check(
    path: str, revision: str | None, labels: Sequence[str] | None, task: str, classes: Sequence[str], where: str
) -> None:
    """Raise a UserError where a checkpoint cannot be the model of this data as it is.

    Args:
        path, revision: a local folder or hub id, and the hub's branch, tag or commit.
        labels: see `order`.
        task: name of the task.
        classes: the data's classes; empty where the task has none.
        where: the model's section, for messages.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False)
    except Exception as error:  # damaged files, network trouble: each has exceptions of its own
        raise UserError(
            f"params.yaml: {where}.model.path: cannot load {path!r} (revision {revision}): {reason(error)}: name a"
            " transformers checkpoint that is here, or can be downloaded"
        ) from error
    check_head(config, task, path, where)
    if classes:
        order(config, labels, classes, path, where)


def check_head(config: PretrainedConfig, task: str, path: str, where: str) -> None:
    """Raise a UserError where the configuration names models (`architectures`), and none has the task's head."""
    models = config.architectures or []
    if models and not any(HEADS[task] in name for name in models):
        refuse(f"its config.json says {', '.join(models)}, not a model {HEADS[task]}", task, path, where)
    if task == "multi_label" and models and config.problem_type not in (None, "multi_label_classification"):
        refuse(f"its config.json says problem_type {config.problem_type}", task, path, where)
    if task in ("regression", "ranking") and models and config.num_labels != 1:
        refuse(f"its head has {config.num_labels} outputs, not 1", task, path, where)


def refuse(why: str, task: str, path: str, where: str) -> None:
    """Raise a UserError: the checkpoint has no head for the task, because of `why`."""
    raise UserError(
        f"params.yaml: {where}.train: false, but {path!r} has no head that is ready for task {task}: {why}: name a"
        f" checkpoint that is fine-tuned for it in {where}.model.path, or set {where}.train: true"
    )


def order(
    config: PretrainedConfig, labels: Sequence[str] | None, classes: Sequence[str], path: str, where: str
) -> list[int]:
    """The row of each of the data's classes in the head.

    Args:
        config: the checkpoint's configuration.
        labels: names of the head's rows in their order (`teacher.labels`); None: those of the configuration.
        classes: the data's classes, in their order.
        path, where: the checkpoint, and the model's section, for messages.

    Raises:
        UserError: another number of classes, or other names, as `class_names.order` compares them.
    """
    field, shown = f"params.yaml: {where}.labels", ", ".join(classes)
    rows = names(config, labels, path, where)
    if len(rows) != len(classes):
        raise UserError(
            f"params.yaml: {where}.model.path: the head of {path!r} has {len(rows)} classes ({', '.join(rows)}), the"
            f" data has {len(classes)} ({shown}): name another checkpoint, or set {where}.train: true"
        )
    chosen = class_names.order(rows, classes)
    if chosen is not None:
        return chosen
    if labels is None:
        raise UserError(
            f"{field}: null, but the classes of the head of {path!r} are called {', '.join(rows)}, those of the data"
            f" {shown}: say which class each row of the head is, in the head's order, as {where}.labels: [{shown}]"
        )
    strange = [name for name in labels if name not in classes] or labels
    raise UserError(
        f"{field}: {strange[0]!r} is no class of the data ({shown}): name each of its classes once, in the order of the"
        f" rows of the head of {path!r}"
    )


def names(config: PretrainedConfig, labels: Sequence[str] | None, path: str, where: str) -> list[str]:
    """The names of the head's rows in their order; arguments as of `order`.

    Raises:
        UserError: the configuration's names cannot be read, or `labels` are more or fewer than the rows.
    """
    try:
        rows = class_names.of_head(config)
    except (ValueError, TypeError, AttributeError) as error:
        if labels is not None:
            return list(labels)
        raise UserError(
            f"params.yaml: {where}.labels: null, but id2label of {path!r} cannot be read ({error}): name the classes of"
            " its head's rows there, in their order"
        ) from error
    if labels is not None and len(labels) != len(rows):
        raise UserError(
            f"params.yaml: {where}.labels: {', '.join(labels)}: {len(labels)} names, but the head of {path!r} has"
            f" {len(rows)} rows ({', '.join(rows)}): name each row once, in its order"
        )
    return rows if labels is None else list(labels)
