"""The differences of a phase, with what their intervals are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distill.analysis import example_groups
from distill.analysis.significance import Scored
from distill.config.params import Params
from distill.data.loading.prepared import Prepared
from distill.tasks.base import Task
from pipeline.summary import controls, runs


def of(
    params: Params,
    task: Task,
    data: Prepared,
    tables: runs.Tables,
    baselines: Sequence[str],
    updates: Mapping[str, float | None],
) -> dict[str, Any]:
    """The content of differences.json.

    Args:
        params: the phase's parameters.
        data: the prepared data, with the splits that are reported on.
        tables: tables of examples of the listed methods and of their controls.
        baselines: rows that all others are compared with.
        updates: control → its updates.
    """
    scored = runs.scored(tables, params.methods, task, data, params)
    classes, groups = data.meta.get("labels", ()), example_groups.of(task.name, data.examples("validation"))
    return {
        "metric": task.main_metric,
        "against": {name: against(scored, params.methods, name) for name in baselines},
        "controls": controls.compared(params, task.main_metric, tables, updates, classes, groups),
    }


def against(scored: Scored, methods: Sequence[str], baseline: str) -> dict[str, dict[str, Any]]:
    """Method → its difference to the baseline: value, interval, p; standard errors of examples and seeds; freedom."""
    rivals = [name for name in methods if name != baseline]
    noise = scored.noise(rivals, baseline)
    rows = {}
    for name in rivals:
        found = scored.difference(name, baseline, noise)
        rows[name] = {"value": found.value, "low": found.low, "high": found.high, "p": found.p}
        if found.noise is not None and noise is not None:
            errors = {"shared": found.noise.shared, "seeds": found.noise.seeds, "freedom": float(noise.freedom)}
            rows[name] |= errors
    return rows
