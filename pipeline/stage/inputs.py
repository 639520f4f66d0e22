"""Inputs of the stages after `prepare`: the prepared data and its task."""

from __future__ import annotations

from distill.config.params import Params
from distill.config.schema import Training
from distill.data.loading.prepared import Prepared
from distill.models import acceleration
from distill.tasks import class_weights, label_noise
from distill.tasks.base import Task, label_column
from distill.tasks.registry import load_task
from pipeline.stage import paths
from pipeline.stage.stage import Stage


def open_data(params: Params, reported: bool = False, chooses: bool = True) -> tuple[Prepared, Task]:
    """The prepared data, and the task with the data's classes; torch computes with `runtime.threads` from here on.

    Args:
        reported: whether the splits that scores are reported on are opened, too.
        chooses: whether something is chosen by the task's main score. For a training that keeps its last weights,
            False: the main score is the task's first one, and another evaluate.metric trains nothing again.
    """
    acceleration.use_threads(params.runtime)
    data = Prepared(paths.PREPARED, paths.REPORTED if reported else None)
    metric = params.evaluate.metric if chooses else None
    return data, load_task(params.task, metric, data.meta.get("labels", ()))


def with_label_noise(stage: Stage, data: Prepared, task: Task, share: float, seed: int) -> Prepared:
    """The data with `share` of its training labels replaced at random, which the stage says; the data itself at 0.

    The splits that are scored stay as they are.
    """
    if not share:
        return data
    stage.say("noise", f"{share:.0%} of the training labels are replaced at random")
    return data.with_features("train", label_noise.noised(data.features("train"), task, share, seed))


def with_class_weights(stage: Stage, data: Prepared, task: Task, section: Training, where: str) -> Task:
    """The task with the loss that the section's `class_weights` ask for, which the stage says; the task itself at null.

    Args:
        data: what is trained on, with its label noise: `balanced` counts the labels that the training sees.
        where: the section's name, for messages.
    """
    if section.class_weights is None:
        return task
    (column,) = task.labels
    labels = label_column(data.features("train"), column)
    weights = class_weights.of(section.class_weights, task.classes, labels, where, all_needed=not task.per_token)
    stage.say("weighs", f"the classes: {class_weights.describe(task.classes, weights)}")
    return task.weighted(weights)
