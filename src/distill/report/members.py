"""The report's table of an ensemble of teachers: each member by itself, and their mean, which teaches."""

from __future__ import annotations

from distill.report import formatting
from distill.report.results import Results, heading, scale
from distill.report.tables import Cell, Table


def table(results: Results) -> Table | None:
    """A row per member, the ensemble last; None where the teacher is no ensemble."""
    rows = results.analysis.get("ensemble") or []
    names = list(dict.fromkeys(name for row in rows for name in row["scores"]))
    if not rows:
        return None
    columns = [("Teacher", ""), ("Weight", "of its probabilities"), *((heading(name), scale(name)) for name in names)]
    cells = [
        [
            Cell("the ensemble" if row["weight"] is None else row["name"], row["name"]),
            Cell(formatting.number(row["weight"], 2), row["weight"]),
            *(Cell(formatting.number(score), score) for score in (row["scores"].get(name) for name in names)),
        ]
        for row in rows
    ]
    return Table("ensemble", "The teachers, and the mean of their probabilities, which teaches", columns, cells)
