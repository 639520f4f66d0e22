"""The report's table of checkpoints of the teacher's training: which of them teaches best?"""

from __future__ import annotations

from distill.report import formatting
from distill.report.results import Results, heading, scale
from distill.report.tables import Cell, Table


def table(results: Results) -> Table | None:
    """A row per checkpoint, the fine-tuned teacher last; None where none was kept."""
    rows = results.analysis.get("snapshots") or []
    if not rows:
        return None
    names = list(dict.fromkeys(name for row in rows for name in row["scores"]))
    columns = [("Teacher", ""), ("Update", "after which it was kept")]
    columns += [(heading(f"selection_{name}"), scale(name)) for name in names]
    columns.append(("Students of it alone", f"{heading(results.metric)}, {scale(results.metric)}"))
    cells = [
        [
            Cell(_label(row["snapshot"]), row["snapshot"] or "teacher"),
            Cell(formatting.number(row["update"], 0), row["update"]),
            *(Cell(formatting.number(score), score) for score in (row["scores"].get(name) for name in names)),
            Cell(_students(row["students"])),
        ]
        for row in rows
    ]
    return Table("snapshots", "Snapshots of the teacher", columns, cells)


def _label(number: int | None) -> str:
    return "as it is at the end" if number is None else f"snapshot {number}"


def _students(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {formatting.number(score)}" for name, score in scores.items()) or formatting.NONE
