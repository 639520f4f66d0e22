"""What the stages after `prepare` begin with: the prepared data and its task."""

from __future__ import annotations

from distill import hardware, registry
from distill.config import Params
from distill.data.prepared import Prepared
from distill.tasks.base import Task
from pipeline import common

#: Parameters that scores on the selection split hang on.
SCORED = ["evaluate.metric", "evaluate.n_best", "evaluate.max_answer_length"]


def open_data(params: Params) -> tuple[Prepared, Task]:
    """The prepared data, and the task with the data's classes; torch computes with `runtime.threads` from here on."""
    hardware.use_threads(params.runtime)
    data = Prepared(common.PREPARED)
    return data, registry.load_task(params.task, params.evaluate.metric, data.meta.get("labels", ()))
