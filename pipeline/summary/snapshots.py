"""The checkpoints of the teacher's training, and the students that each of them has taught alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distill.config.params import Params
from distill.tasks.base import Task
from pipeline.stage import paths
from pipeline.summary import contents


def rows(params: Params, task: Task, summary: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each checkpoint, in order, the fine-tuned teacher last; none where no checkpoint is kept.

    Args:
        summary: content of metrics/summary.json.

    Returns:
        snapshot: its number, None for the teacher; update: after which it was taken; scores: those of the task's tables
        on the selection split; students: main score, mean over seeds, of the variants whose teacher it is
        (`teacher_snapshot`), beside the teacher those of the same methods without.
    """
    kept = contents.read(paths.SNAPSHOT_SCORES, contents.SNAPSHOTS)
    taught = {name: params.snapshot_of(name) for name in params.methods if name in summary}
    methods = {params.method_of(name) for name, number in taught.items() if number}
    table = []
    for label, values in kept.items():
        number = int(label) if label.isdigit() else None
        students = [name for name, own in taught.items() if own == number and params.method_of(name) in methods]
        table.append(
            {
                "snapshot": number,
                "update": values["update"],
                "scores": {name: values[name] for name in task.shown if name in values},
                "students": {name: summary[name][task.main_metric] for name in students},
            }
        )
    return table
