"""Where models differ: scores by slice, calibration, agreement with the teacher, the examples they disagree on.

`Tables` are the tables of `distill.analysis.example_table` by model and seed; teacher and student, which are trained
once, have the single seed None. All tables have the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from distill.analysis.bootstrap import Pearson, score_of
from distill.analysis.score_intervals import wilson
from distill.analysis.slices import Slice
from distill.tasks import calibration

Tables = Mapping[str, Mapping[int | None, pd.DataFrame]]


def by_slice(tables: Tables, groupings: Sequence[Slice], metric: str, confidence: float = 0.95) -> list[dict[str, Any]]:
    """Mean over seeds of a score in every group that has examples, with its interval where it is a mean of 0 to 100.

    Args:
        metric: a column of the tables; where they have none of this name, `accuracy` (classification), `example_f1`
            (several labels), or `mse`, the squared error in the labels' own unit, lower is better (regression: a
            correlation within a narrow range of gold values says little).
        confidence: level of the intervals (`score_intervals.wilson`), in (0, 1).
    """
    counted = "entities" in next(iter(next(iter(tables.values())).values()))
    metric, values = (metric, None) if counted else _example_scores(tables, metric)
    parts = []
    for grouping in groupings:
        if counted:
            means, sizes = _of_counts(tables, metric, grouping)
        else:
            grouped = values.groupby(grouping.groups, observed=True)
            means, sizes = grouped.mean(), grouped.size()
        groups = [
            {"group": group, "examples": int(size), "scores": means.loc[group].to_dict()}
            for group, size in sizes.items()
        ]
        if not counted and metric != "mse":
            for part in groups:
                part["intervals"] = {
                    name: wilson(score, part["examples"], confidence) for name, score in part["scores"].items()
                }
        parts.append({"name": grouping.name, "title": grouping.title, "metric": metric, "groups": groups})
    return parts


def _of_counts(tables: Tables, metric: str, grouping: Slice) -> tuple[pd.DataFrame, pd.Series]:
    """A score that is no mean over examples (of entities): (groups × models, means over seeds; examples by group)."""
    sizes = pd.Series(grouping.groups).value_counts(sort=False)
    sizes = sizes[sizes > 0]
    inside = np.array([grouping.groups == group for group in sizes.index], float).T
    means = {name: score_of(metric, list(seeds.values()))(inside).mean(axis=0) for name, seeds in tables.items()}
    return pd.DataFrame(means, index=sizes.index), sizes


def _example_scores(tables: Tables, metric: str) -> tuple[str, pd.DataFrame]:
    """A score of every example, mean over seeds: (its name, a column per model)."""
    columns = next(iter(next(iter(tables.values())).values())).columns
    if metric not in columns:
        metric = next((name for name in ("accuracy", "example_f1") if name in columns), "mse")

    def values(table: pd.DataFrame) -> np.ndarray:
        error = (lambda: (table["predicted"] - table["gold"]) ** 2) if metric == "mse" else (lambda: table[metric])
        return error().to_numpy()

    means = {name: np.mean([values(table) for table in seeds.values()], axis=0) for name, seeds in tables.items()}
    return metric, pd.DataFrame(means)


def calibrated(tables: Tables, scores: Mapping[str, Mapping[int | None, Mapping[str, float]]]) -> dict[str, Any]:
    """Calibration of every model before and after temperature scaling; {} where there is no confidence (regression).

    Args:
        scores: scores of metrics/runs by model and seed; ece, ece_calibrated and temperature are averaged over seeds.

    Returns:
        model → those three and `bins`, over all seeds' rows together: examples (per seed), mean confidence (0–1) and
        accuracy (0–1), None where a bin is empty; `calibrated_…` is the same with the calibrated confidence.
    """
    by_model = {}
    for name, seeds in tables.items():
        rows = pd.concat(seeds.values(), ignore_index=True)
        if "confidence" not in rows:
            return {}
        keys = ("ece", "ece_calibrated", "temperature")
        means = {key: fmean(run[key] for run in scores[name].values()) for key in keys}
        before, after = (_bins(rows, column, len(seeds)) for column in ("confidence", "calibrated"))
        edges = np.linspace(0, 1, calibration.BINS + 1).round(6).tolist()
        after = [{f"calibrated_{key}": value for key, value in part.items()} for part in after]
        bins = [{"from": edges[k], "to": edges[k + 1], **before[k], **after[k]} for k in range(calibration.BINS)]
        by_model[name] = means | {"bins": bins}
    return by_model


def _bins(rows: pd.DataFrame, column: str, seeds: int) -> list[dict[str, float | None]]:
    confidence, correct = rows[column].to_numpy(), rows["correct"].to_numpy()
    place = calibration.bin_of(confidence)
    size, sure, right = (
        np.bincount(place, weights=weights, minlength=calibration.BINS) for weights in (None, confidence, correct)
    )
    return [
        {
            "examples": int(n) / seeds,
            "confidence": float(sure[k] / n) if n else None,
            "accuracy": float(right[k] / n) if n else None,
        }
        for k, n in enumerate(size)
    ]


def oracle(scores: Mapping[str, Mapping[int | None, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """The scores whose threshold is tuned on the reported split itself: model → score → mean over seeds; {} if none."""
    by_model = {}
    for name, seeds in scores.items():
        runs = list(seeds.values())
        keys = [key for key in runs[0] if key.startswith("best_") and key.endswith("_oracle")]
        if keys:
            by_model[name] = {key: fmean(run[key] for run in runs) for key in keys}
    return by_model


def agreement(
    answers: Mapping[str, Mapping[int | None, Sequence[Any]]], normalize: Callable[[str], str]
) -> dict[str, float]:
    """How often each model gives the teacher's answer, right or wrong: percent of the examples, mean over seeds.

    Args:
        answers: answers by model and seed, one per example: texts, names of classes, or numbers, for which the
            agreement is Pearson's correlation with the teacher's numbers (-100 to 100). Without a teacher: {}.
        normalize: function of a text; texts with the same result are the same answer.
    """
    if "teacher" not in answers:
        return {}
    reference = next(iter(answers["teacher"].values()))
    numbers = isinstance(reference[0], float)
    normalize = cache(normalize)

    def share(values: Sequence[Any]) -> float:
        if numbers:
            return float(Pearson(np.array(reference), np.array([values]))(np.ones((len(values), 1)))[0, 0])
        pairs = zip(values, reference, strict=True)
        same = sum(value == wanted or normalize(value) == normalize(wanted) for value, wanted in pairs)
        return 100 * same / len(values)

    return {name: fmean(map(share, seeds.values())) for name, seeds in answers.items() if name != "teacher"}


def best_method(
    table: Mapping[str, Mapping[str, Any]], methods: Sequence[str], metric: str, baseline: str
) -> str | None:
    """The method, not the baseline, with the highest score on the selection split, from which no reported score comes.

    Args:
        table: the summary, means over seeds. methods: methods of the run. metric: the main score.
    """
    rivals = [name for name in methods if name != baseline and f"selection_{metric}" in table[name]]
    return max(rivals, key=lambda name: table[name][f"selection_{metric}"], default=None)
