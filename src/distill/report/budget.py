"""The answer of `pipeline.commands.budget`: the best student under a budget, in one sentence, and its tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distill.report import formatting
from distill.report.results import title


def sentence(found: Mapping[str, Any]) -> str:
    """The best student under the budget with its interval, or why there is none.

    Args:
        found: metrics/budget.json.
    """
    shapes, limit = found["shapes"], _limit(found)
    counted = f"Of {formatting.plural(len(shapes), 'shape')} timed on {found['machine']}"
    if not found["fitting"]:
        nearest = min(shapes, key=lambda row: _share(row, found["budget"]))
        return f"{counted}, none fits in {limit}: the nearest, {_shape(nearest)}, takes {_cost(nearest)}."
    counted += f", {found['fitting']:,} {'fits' if found['fitting'] == 1 else 'fit'} in {limit}"
    best, trained = found["best"], found["trained"]
    if best is None:
        over = [f"{row['name']} ({row['excess']})" for row in trained]
        why = f"; over the budget after their training: {formatting.listed(over)}" if over else ""
        return f"{counted}; none is trained yet{why}." if not over else f"{counted}{why}."
    fitting = sum(not row["excess"] for row in trained)
    which = "the one" if fitting == 1 else f"the best of the {fitting:,}"
    text = f"{counted}; {which} trained by {found['method']} is {_shape(best)}:"
    text += f" {formatting.number(best['score'])} {title(best['metric'])}"
    if best["versus_teacher"] is not None:
        side = "below" if best["versus_teacher"] < 0 else "above"
        text += (
            f", {formatting.number(abs(best['versus_teacher']))} points {side} the teacher"
            f" ({best['confidence'] * 100:g}% interval {formatting.interval(best['low'], best['high'])},"
            f" {formatting.plural(len(best['seeds']), 'seed')})"
        )
    if "trimmed_score" in best:
        text += (
            f"; {formatting.number(best['trimmed_score'])} with its vocabulary trimmed to {best['tokens']:,} tokens,"
            f" which cover {best['covered']:.0%} of the validation rows"
        )
    return f"{text}; {_cost(best)}, the teacher {_cost(best['teacher'])}."


def grid(found: Mapping[str, Any]) -> list[str]:
    """The grid as Markdown, a row per shape, and the teacher."""
    lines = ["| layers | units | heads | vocabulary | encoder parameters | MB | ms (p10–p90) | in the budget |"]
    lines.append("|---|---:|---:|---|---:|---:|---:|---|")
    whole = {"layers": ["teacher"], "vocabulary": "whole", "units": None, "heads": None, "excess": ""}
    for row in (whole | found["teacher"], *found["shapes"]):
        spread = f"{row['latency_ms']:.2f} ({row['latency_ms_p10']:.2f}–{row['latency_ms_p90']:.2f})"
        fits = "" if row["layers"] == ["teacher"] else "yes" if not row["excess"] else f"no: {row['excess']}"
        cells = [", ".join(map(str, row["layers"])), row["units"] or "", row["heads"] or "", row["vocabulary"]]
        cells += [formatting.short(row["parameters_without_embeddings"]), f"{row['checkpoint_mb']:.2f}", spread, fits]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def trained(found: Mapping[str, Any]) -> list[str]:
    """The trained shapes as Markdown, as they were trained."""
    rows = found["trained"]
    metric = rows[0]["metric"] if rows else "score"
    lines = [f"| shape | selection {metric} | {metric} | to the teacher | MB | ms | seeds | experiment | |"]
    lines.append("|---|---:|---:|---:|---:|---:|---|---|---|")
    for row in rows:
        versus = formatting.number(row["versus_teacher"], signed=True)
        versus += f" {formatting.interval(row['low'], row['high'])}" if row["low"] is not None else ""
        note = f"over: {row['excess']}" if row["excess"] else "best" if row == found["best"] else ""
        cells = [row["name"], formatting.number(row["selection"]), formatting.number(row["score"]), versus]
        cells += [f"{row['checkpoint_mb']:.2f}", f"{row['latency_ms']:.2f}", ", ".join(map(str, row["seeds"]))]
        lines.append("| " + " | ".join([*cells, row["experiment"], note]) + " |")
    return lines


def _limit(found: Mapping[str, Any]) -> str:
    budget = found["budget"]
    parts = [
        f"{value:g} {unit}" for name, unit in (("latency_ms", "ms a row"), ("size_mb", "MB")) if (value := budget[name])
    ]
    return " and ".join(parts)


def _share(row: Mapping[str, Any], budget: Mapping[str, Any]) -> float:
    """How often the budget goes into what a shape takes."""
    costs = ((row["latency_ms"], budget["latency_ms"]), (row["checkpoint_mb"], budget["size_mb"]))
    return max(cost / most for cost, most in costs if most)


def _shape(row: Mapping[str, Any]) -> str:
    layers = "layer" if len(row["layers"]) == 1 else "layers"
    sizes = [
        f"{row[name]:,} {word}" for name, word in (("units", "feed-forward units"), ("heads", "heads")) if row[name]
    ]
    if row["vocabulary"] == "trimmed" and "trimmed_score" not in row:
        sizes.append("a trimmed vocabulary")
    text = f"{layers} {formatting.listed(row['layers'], 30)}"
    return f"{text} with {formatting.listed(sizes)}" if sizes else text


def _cost(row: Mapping[str, Any]) -> str:
    return f"{formatting.number(row['latency_ms'])} ms a row and {formatting.number(row['checkpoint_mb'])} MB"
