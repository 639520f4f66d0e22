"""Methods against fine-tuning alone that took as long: for `controls` of params.yaml, at the end of the pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from distill.analysis import bootstrap, example_table, significance
from distill.config.comparison import control
from distill.config.params import Params
from distill.tasks.base import Task
from pipeline.stage import paths
from pipeline.summary import runs, spent

if TYPE_CHECKING:
    import pandas as pd


def compared(
    params: Params,
    task: Task,
    tables: runs.Tables,
    classes: Sequence[str] = (),
    groups: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """A row for each method and time of `controls`.

    Args:
        tables: tables of examples of the listed names.
        classes: names of the classes in order.
        groups: group of each example, see `significance.differences`.

    Returns:
        method, time (own or total), control: its name; updates: those of the control, mean over seeds; score and
        control_score: mean over seeds; difference with low, high and p, and the verdict, corrected over all rows.
    """
    settings, rows, differences = params.compare, [], {}
    for time in params.controls.times:
        for method in params.controls.methods:
            label = control(time, method)
            both = {method: tables[method], label: _read(label, params, task, tables[method])}
            pairs = [(name, seed) for name in both for seed in params.seeds]
            score = bootstrap.score_of(task.main_metric, [both[name][seed] for name, seed in pairs], classes)
            differences[label] = significance.differences(score, pairs, label, settings, groups)[method]
            whole = score(np.ones((score.examples, 1)))[:, 0]
            count = len(params.seeds)
            rows.append(
                {
                    "method": method,
                    "time": time,
                    "control": label,
                    "updates": _updates(label, params.seeds),
                    "score": float(whole[:count].mean()),
                    "control_score": float(whole[count:].mean()),
                }
            )
    verdicts = significance.verdicts(differences, settings.confidence)
    for row in rows:
        found = differences[row["control"]]
        row |= {"difference": found.value, "low": found.low, "high": found.high, "p": found.p}
        row["verdict"] = verdicts[row["control"]]
    return rows


def _read(label: str, params: Params, task: Task, like: Mapping[int | None, pd.DataFrame]) -> dict:
    """A control's tables of examples by seed, which have the rows of the method's."""
    tables = runs.read_tables({label: {seed: paths.label(label, seed) for seed in params.seeds}}, task)[label]
    example_table.check_same({"the method's table": next(iter(like.values())), label: tables[params.seeds[0]]})
    return tables


def _updates(label: str, seeds: Sequence[int]) -> float | None:
    records = [spent.record(f"distill@{paths.label(label, seed)}") for seed in seeds]
    counts = [record["updates"] for record in records if record and record.get("updates")]
    return sum(counts) / len(counts) if counts else None
