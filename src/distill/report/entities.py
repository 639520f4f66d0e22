"""The report's section on types of entities: precision, recall and F1 of each, model by model."""

from __future__ import annotations

from distill.report import formatting
from distill.report.results import Results
from distill.report.tables import Cell, Table, filled

_SCORES = {"f1": "F1", "precision": "Precision", "recall": "Recall"}
# Characters of a type's name.
_NAME = 60


def each(results: Results) -> list[Table]:
    """A table per type, the most frequent first; none where the task has no entities."""
    found = results.analysis.get("entities") or {}
    columns = [("Model", ""), *((title, "%") for title in _SCORES.values())]
    tables = []
    for place, part in enumerate(found.get("types", ())):
        rows = [
            [Cell(name, name), *(Cell(formatting.number(row[score]), row[score]) for score in _SCORES)]
            for name, row in part["scores"].items()
        ]
        caption = f"{formatting.cut(part['type'], _NAME)}: {part['entities']:,} of {found['entities']:,} entities"
        tables.append(filled(f"entities-{place}", caption, columns, rows))
    return tables
