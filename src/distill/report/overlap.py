"""The report's table of what training has seen of the splits that models are chosen and scored on."""

from __future__ import annotations

from distill.report import formatting
from distill.report.results import Results
from distill.report.tables import Cell, Table

# Shares in `overlap` of the prepared data's meta.json (`distill.data.sources.overlap.shares`) → title and note.
_COLUMNS = {
    "part": ("Part of a training text", "% of texts"),
    "related": ("Is or holds a training text", "% of texts"),
    "groups": ("Group in train", "% of rows"),
    "paragraphs": ("Paragraph in train", "% of paragraphs"),
    "questions": ("Question in train", "% of questions"),
}
# Number of texts of the split that were taken out of the transfer set, where there is one.
_LEFT_OUT = "left_out"


def table(results: Results) -> Table | None:
    """A row per split, selection first; None where stage prepare has not written it down."""
    found = results.analysis.get("overlap") or {}
    shares = [name for name in _COLUMNS if any(row.get(name) is not None for row in found.values())]
    if not shares:
        return None
    rows = [
        [
            Cell(split, split),
            *(Cell(formatting.number(percent, 1), percent) for percent in (_percent(row.get(name)) for name in shares)),
        ]
        for split, row in found.items()
    ]
    caption, columns = (
        "What of each split is in the training data",
        [("Split", ""), *(_COLUMNS[name] for name in shares)],
    )
    if any(_LEFT_OUT in row for row in found.values()):
        caption += ", of which the transfer set is a part"
        columns.append(("Left out of the transfer set", "rows"))
        for cells, row in zip(rows, found.values(), strict=True):
            cells.append(Cell(formatting.number(row.get(_LEFT_OUT), 0), row.get(_LEFT_OUT)))
    return Table("overlap", caption, columns, rows)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
