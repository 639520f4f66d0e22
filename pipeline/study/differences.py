"""The differences of a phase, with what their intervals are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distill.analysis import bootstrap
from distill.analysis.significance import Scored
from distill.config.params import Params
from pipeline.summary import controls, runs


def of(
    params: Params,
    metric: str,
    tables: runs.Tables,
    baselines: Sequence[str],
    updates: Mapping[str, float | None],
    classes: Sequence[str] = (),
    groups: np.ndarray | None = None,
) -> dict[str, Any]:
    """The content of differences.json.

    Args:
        params: the phase's parameters.
        metric: the task's main score.
        tables: tables of examples of the listed methods and of their controls.
        baselines: rows that all others are compared with.
        updates: control → its updates.
        classes: names of the classes in order.
        groups: group of each example, see `significance.differences`.
    """
    listed = [(name, seed) for name in params.methods for seed in tables[name]]
    score = bootstrap.score_of(metric, [tables[name][seed] for name, seed in listed], classes)
    scored = Scored(score, listed, params.compare, groups)
    return {
        "metric": metric,
        "against": {name: against(scored, params.methods, name) for name in baselines},
        "controls": controls.compared(params, metric, tables, updates, classes, groups),
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
