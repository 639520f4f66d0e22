"""Methods against fine-tuning alone that took as long: for `controls` of params.yaml, at the end of the pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distill.analysis import bootstrap, example_table, significance
from distill.config.comparison import control
from distill.config.params import Params
from distill.tasks.base import Task
from pipeline.stage import paths
from pipeline.summary import runs, spent


def compared(
    params: Params,
    metric: str,
    tables: runs.Tables,
    updates: Mapping[str, float | None],
    classes: Sequence[str] = (),
    groups: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """A row for each method and time of `controls`.

    Args:
        metric: the task's main score.
        tables: tables of examples of the listed names and of their controls (`tables_of`).
        updates: control → its updates (`updates_of`).
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
            pairs = [(name, seed) for name in (method, label) for seed in params.seeds]
            score = bootstrap.score_of(metric, [tables[name][seed] for name, seed in pairs], classes)
            differences[label] = significance.differences(score, pairs, label, settings, groups)[method]
            whole = score(np.ones((score.examples, 1)))[:, 0]
            count = len(params.seeds)
            rows.append(
                {
                    "method": method,
                    "time": time,
                    "control": label,
                    "updates": updates[label],
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


def names(params: Params) -> dict[str, str]:
    """Control → the method whose time it takes."""
    return {control(time, method): method for time in params.controls.times for method in params.controls.methods}


def tables_of(params: Params, task: Task, tables: runs.Tables) -> runs.Tables:
    """The controls' tables of examples, which have the rows of their methods'.

    Args:
        tables: tables of the listed names.
    """
    found = {}
    for name, method in names(params).items():
        labels = {name: {seed: paths.label(name, seed) for seed in params.seeds}}
        found |= runs.read_tables(labels, task)
        both = {"the method's table": next(iter(tables[method].values())), name: found[name][params.seeds[0]]}
        example_table.check_same(both)
    return found


def updates_of(params: Params) -> dict[str, float | None]:
    """Control → its updates, the mean over seeds; None where no record has them."""
    return {name: _mean_updates(name, params.seeds) for name in names(params)}


def _mean_updates(name: str, seeds: Sequence[int]) -> float | None:
    records = [spent.record(f"distill@{paths.label(name, seed)}") for seed in seeds]
    counts = [record["updates"] for record in records if record and record.get("updates")]
    return sum(counts) / len(counts) if counts else None
