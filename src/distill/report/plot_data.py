"""The numbers behind the pictures as tables, from which DVC draws its plots."""

from __future__ import annotations

import pandas as pd

from distill.report.curves import filter_scores
from distill.report.results import Results

COLUMNS = {
    "scores": ["model", "score", "std", "difference", "low", "high", "verdict"],
    "cost": ["model", "score", "throughput", "flops_per_token", "parameters", "train_seconds"],
    "slices": ["slice", "group", "place", "model", "score", "examples"],
    "reliability": ["model", "scaling", "series", "confidence", "accuracy", "examples"],
    "filters": ["model", "layer", "score"],
}


def tables(results: Results) -> dict[str, pd.DataFrame]:
    """Name → table, with the columns of `COLUMNS`; without rows where there is nothing to show.

    scores: a row per model; low and high bound the difference to the baseline. cost: a row per model that has a cost.
    slices: a row per group and model; `place` is "slice: group". reliability: a row per bin, before and after
    temperature scaling. filters: a row per filter.
    """
    rows: dict[str, list[dict]] = {
        "scores": _scores(results),
        "cost": _cost(results),
        "slices": [
            {
                "slice": part["name"],
                "group": group["group"],
                "place": f"{part['name']}: {group['group']}",
                "model": model,
                "score": score,
                "examples": group["examples"],
            }
            for part in results.analysis.get("slices", [])
            for group in part["groups"]
            for model, score in group["scores"].items()
        ],
        "reliability": _reliability(results),
        "filters": [
            {"model": role, "layer": layer, "score": score}
            for role in results.filters
            for layer, score in filter_scores(results, role)
        ],
    }
    return {name: pd.DataFrame(rows[name], columns=columns) for name, columns in COLUMNS.items()}


def _scores(results: Results) -> list[dict]:
    return [
        {
            "model": name,
            "score": results.score(name),
            "std": row.get(f"{results.metric}_std"),
            "difference": results.versus(name),
            "low": results.versus(name, "low"),
            "high": results.versus(name, "high"),
            "verdict": results.verdict(name),
        }
        for name, row in results.summary.items()
    ]


def _cost(results: Results) -> list[dict]:
    models = results.cost.get("models", {})
    rows = []
    for name in results.summary:
        shape = models.get("teacher" if name == "teacher" else "student", {})
        figures = {key: shape.get(key) for key in ("throughput", "flops_per_token", "parameters")}
        figures["train_seconds"] = results.training.get(name, {}).get("seconds")
        if any(value is not None for value in figures.values()):
            rows.append({"model": name, "score": results.score(name), **figures})
    return rows


def _reliability(results: Results) -> list[dict]:
    rows = []
    for name, row in results.analysis.get("calibration", {}).items():
        for scaling, prefix in (("before", ""), ("after", "calibrated_")):
            for part in row["bins"]:
                if part[f"{prefix}examples"]:
                    rows.append(
                        {
                            "model": name,
                            "scaling": scaling,
                            "series": f"{name}, {scaling}",
                            "confidence": part[f"{prefix}confidence"],
                            "accuracy": part[f"{prefix}accuracy"],
                            "examples": part[f"{prefix}examples"],
                        }
                    )
    return rows
