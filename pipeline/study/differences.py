"""The differences of a phase, with what their intervals are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distill.analysis.significance import Scored
from distill.config.params import Params
from distill.data.loading.prepared import Prepared
from distill.tasks.base import Task
from pipeline.summary import runs


def of(params: Params, task: Task, data: Prepared, tables: runs.Tables, baselines: Sequence[str]) -> dict[str, Any]:
    """The content of differences.json.

    Args:
        params: the phase's parameters.
        data: the prepared data, with the splits that are reported on.
        tables: tables of examples of the listed methods.
        baselines: rows that all others are compared with.
    """
    scored = runs.scored(tables, params.methods, task, data, params)
    return {
        "metric": task.main_metric,
        "against": {name: against(scored, params.methods, name) for name in baselines},
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
