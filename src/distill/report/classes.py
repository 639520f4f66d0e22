"""The report's section on classes: what each of them is worth, untuned and tuned, and above all the rarest."""

from __future__ import annotations

from typing import Any

from distill.report import formatting
from distill.report.results import Results
from distill.report.tables import Cell, Table, filled, number_cell

#: Beginning of a score's name → words below the heading.
WHEN = {"": "as it is", "tuned_": "tuned"}
_SCORES = ("recall", "precision", "f1")
# Characters of a class's name.
_NAME = 60


def overall(results: Results) -> Table | None:
    """A row per model: macro F1 and the recall of the rarest class; None where the task has no classes."""
    found = results.analysis.get("classes")
    if not found:
        return None
    rarest = formatting.cut(found["rarest"], _NAME)
    columns, rows = [("Model", "")], []
    for title in ("Macro F1", f"Recall of {rarest}"):
        columns += [*((title, words) for words in WHEN.values()), ("Gain", "points")]
    columns.append(("Threshold", "tuned, probability"))
    for name, row in found["models"].items():
        cells = [Cell(name, name)]
        for score in ("macro_f1", "minority_recall"):
            before, after = (row.get(f"{beginning}{score}") for beginning in WHEN)
            gain = None if before is None or after is None else after - before
            cells += [number_cell(before), number_cell(after), Cell(formatting.number(gain, signed=True), gain)]
        threshold = row.get("tuned_threshold")
        rows.append([*cells, Cell(formatting.number(threshold, 3), threshold)])
    return filled("classes", "All classes, means over seeds", columns, rows)


def each(results: Results) -> list[Table]:
    """A table per class, the rarest first: recall, precision and F1 of each model."""
    found = results.analysis.get("classes") or {}
    columns = [("Model", "")]
    columns += [(title, words) for title in ("Recall", "Precision", "F1") for words in WHEN.values()]
    further = [("average_precision", "Average precision", "", 2), ("tuned_threshold", "Threshold", "tuned", 3)]
    further = further if found.get("several") else []
    columns += [(title, words) for _, title, words, _ in further]
    tables = []
    for place, part in enumerate(found.get("classes", ())):
        rows = [
            [
                Cell(name, name),
                *(number_cell(row.get(f"{when}{score}")) for score in _SCORES for when in WHEN),
                *(Cell(formatting.number(row.get(key), digits), row.get(key)) for key, _, _, digits in further),
            ]
            for name, row in part["scores"].items()
        ]
        tables.append(filled(f"class-{place}", _caption(part), columns, rows))
    return tables


def _caption(part: dict[str, Any]) -> str:
    counts = ", ".join(f"{count:,} {split}" for split, count in part["rows"].items())
    return f"{formatting.cut(part['class'], _NAME)}: {counts} rows"


def note(results: Results) -> str:
    """What rarest and tuned mean; empty where there are no classes."""
    found = results.analysis.get("classes")
    if not found:
        return ""
    row = next((part for part in found["classes"] if part["class"] == found["rarest"]), None)
    share = f", with {row['rows']['train']:,} of {found['train']:,} training rows" if row and found["train"] else ""
    text = f"The rarest class of the validation split is {formatting.cut(found['rarest'], _NAME)}{share}."
    if any("tuned_macro_f1" in scores for scores in found["models"].values()):
        tuned = "the threshold with the highest F1 of the rarer class"
        if not any("tuned_threshold" in scores for scores in found["models"].values()):
            tuned = "an offset for each class's log-probability, for a high macro F1"
        if found.get("several"):
            tuned = "for each class the threshold with its highest F1 (one for all, where there are more than 100)"
        text += f" Tuned: {tuned}, chosen on the selection split; nothing is tuned on the validation split."
    return text
