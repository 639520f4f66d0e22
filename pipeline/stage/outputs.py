"""Stored outputs of a teacher (teacher.predictions), as the stages that teach by them and score them read them."""

from __future__ import annotations

from pathlib import Path

from distill.config.params import Params
from distill.data.loading.prepared import Prepared
from distill.signals.stored import Stored
from distill.tasks.base import Task
from pipeline.stage.stage import Stage


def read_stored(stage: Stage, params: Params, data: Prepared, task: Task) -> Stored:
    """`Stored.read` of teacher.predictions; the stage says what was read.

    Raises:
        UserError: the files cannot be read, or do not fit the data.
    """
    path = Path(params.teacher.predictions)
    stored = Stored.read(path, data, task)
    stage.read(path, ", ".join(f"{split} {known:,} of {size:,}" for split, (known, size) in stored.coverage.items()))
    for line in stored.lines:
        stage.say("found", line)
    return stored
