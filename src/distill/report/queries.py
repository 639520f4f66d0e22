"""The report's section on queries: those that models rank worst."""

from __future__ import annotations

from distill.report import formatting
from distill.report.results import Results, heading
from distill.report.tables import Cell, Table

# Characters of a query.
_QUERY = 120


def hardest(results: Results) -> Table | None:
    """A row per query, with the main score of each model; None where the task has no queries."""
    found = results.analysis.get("queries")
    if not found:
        return None
    models = [name for name in results.summary if name in found[0]["scores"]]
    columns = [("Query", ""), ("Passages", ""), ("Relevant", ""), *((name, "") for name in models)]
    rows = [
        [
            Cell(formatting.cut(row["query"], _QUERY), row["query"]),
            *(Cell(formatting.number(row[name], 0), row[name]) for name in ("passages", "relevant")),
            *(Cell(formatting.number(row["scores"][name]), row["scores"][name]) for name in models),
        ]
        for row in found
    ]
    caption = f"The queries that are ranked worst: {heading(results.metric)}, 0–100, means over seeds"
    return Table("queries", caption, columns, rows)
