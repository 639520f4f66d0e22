"""The members of an ensemble of teachers beside the ensemble, at the end of the pipeline."""

from __future__ import annotations

from typing import Any

from distill.config.params import Params
from distill.runtime import json_files
from distill.tasks.base import Task
from pipeline.stage import paths
from pipeline.summary import contents


def rows(params: Params, task: Task) -> list[dict[str, Any]]:
    """A row for each member, in the order of `ensemble.members`, and one for the ensemble.

    Returns:
        name: the member's, or `teacher`; weight: None for the ensemble; scores: those of the task's tables, empty where
        it has none.
    """
    table = []
    for name, weight in params.ensemble.weight_of_each().items():
        table.append({"name": name, "weight": weight, "scores": _scores(paths.member_label(name), task)})
    return [*table, {"name": "teacher", "weight": None, "scores": _scores("teacher", task)}]


def _scores(label: str, task: Task) -> dict[str, float]:
    scores = contents.read(paths.METRICS / "runs" / f"{label}.json", json_files.NUMBERS)
    shown = (*task.shown, f"selection_{task.main_metric}")
    return {name: scores[name] for name in shown if name in scores}
