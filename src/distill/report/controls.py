"""The report's answer to: is the method better than fine-tuning that takes as long?"""

from __future__ import annotations

from typing import Any

from distill.report import formatting
from distill.report.results import Results, heading, scale, title
from distill.report.tables import Cell, Table, filled

#: `controls.times` in words.
TIMES = {"own": "training time", "total": "training time with upstream"}


def table(results: Results) -> Table | None:
    """A row per method and time; None where `controls` of params.yaml is empty."""
    found = results.analysis.get("controls") or []
    if not found:
        return None
    level = f"{results.confidence * 100:g}% interval"
    columns = [("Method", ""), ("Time", "of ft, as that of the method"), (heading(results.metric), "of the method")]
    columns += [(f"ft: {heading(results.metric)}", scale(results.metric)), ("ft: updates", "")]
    columns += [("Difference", "points"), (level, ""), ("p", ""), ("Verdict", "at equal time")]
    return filled("controls", "Against ft at the method's own time", columns, [_row(row) for row in found])


def _row(row: dict[str, Any]) -> list[Cell]:
    verdict = row["verdict"]
    return [
        Cell(row["method"], row["method"]),
        Cell(TIMES[row["time"]], row["time"]),
        Cell(formatting.number(row["score"]), row["score"]),
        Cell(formatting.number(row["control_score"]), row["control_score"]),
        Cell(formatting.number(row["updates"], 0), row["updates"]),
        Cell(formatting.number(row["difference"], signed=True), row["difference"]),
        Cell(formatting.interval(row["low"], row["high"]), row["low"]),
        Cell(formatting.probability(row["p"]), row["p"]),
        Cell(verdict, verdict, verdict.replace(" ", "-")),
    ]


def sentence(results: Results, method: str | None) -> str:
    """What is left of a method's gain at equal time; empty where that was not measured."""
    parts = []
    for row in results.analysis.get("controls") or []:
        if row["method"] != method:
            continue
        points = formatting.number(abs(row["difference"]))
        side = "above" if row["difference"] >= 0 else "below"
        parts.append(
            f"At equal {TIMES[row['time']]}, {method} is {points} points {side} ft in {title(results.metric)}"
            f" ({row['verdict']}, {formatting.interval(row['low'], row['high'])})."
        )
    return " ".join(parts)
