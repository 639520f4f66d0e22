"""Inputs of the stages after `prepare`: the prepared data and its task."""

from __future__ import annotations

from distill.config.params import Params
from distill.data.loading.prepared import Prepared
from distill.models import acceleration
from distill.tasks.base import Task
from distill.tasks.registry import load_task
from pipeline.stage import paths

#: Parameters that scores on the selection split depend on.
SCORED = ["evaluate.metric", "evaluate.n_best", "evaluate.max_answer_length"]


def open_data(params: Params) -> tuple[Prepared, Task]:
    """The prepared data, and the task with the data's classes; torch computes with `runtime.threads` from here on."""
    acceleration.use_threads(params.runtime)
    data = Prepared(paths.PREPARED)
    return data, load_task(params.task, params.evaluate.metric, data.meta.get("labels", ()))
