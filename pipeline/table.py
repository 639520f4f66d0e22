"""Results as Markdown: `python -m pipeline.table [folder]` reads metrics/summary.json and data/runs/ and prints tables.

docs/results.md holds its output, so that no figure there is typed by hand.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pipeline  # noqa: F401 (puts src/ on the import path)
from distill.errors import UserError

SCORES = (
    ("em", "EM"),
    ("f1", "F1"),
    ("has_answer_f1", "HasAns F1"),
    ("no_answer_f1", "NoAns F1"),
    ("tuned_f1", "F1, tuned threshold"),
    ("selection_f1", "selection F1"),
)


def scores(summary: dict[str, dict[str, Any]]) -> list[str]:
    """A row per model; ± is the standard deviation over seeds, where there are several."""
    shown = [(key, title) for key, title in SCORES if any(key in row for row in summary.values())]
    lines = ["| model | seeds | " + " | ".join(title for _, title in shown) + " |"]
    lines.append("|---|---|" + "---:|" * len(shown))
    for name, row in summary.items():
        cells = [_score(row, key) for key, _ in shown]
        lines.append(f"| {name} | {', '.join(map(str, row['seeds'])) or '–'} | " + " | ".join(cells) + " |")
    return lines


def costs(records: list[dict[str, Any]]) -> list[str]:
    """A row per stage: wall time, updates and examples per second of the part that was not resumed."""
    lines = ["| stage | seconds | updates | examples/s |", "|---|---:|---:|---:|"]
    for record in sorted(records, key=lambda record: record["stage"]):
        speed, updates = record.get("examples_per_second"), record.get("updates")
        resumed = f" (from {record['resumed_from']:,})" if record.get("resumed_from") else ""
        lines.append(
            f"| {record['stage']} | {record['seconds']:,.0f} | {'' if updates is None else f'{updates:,}'}{resumed} |"
            f" {'' if speed is None else f'{speed:,.1f}'} |"
        )
    machines = sorted({record["device"] for record in records})
    versions = sorted({f"{name} {version}" for record in records for name, version in record["versions"].items()})
    return [*lines, "", f"Machine: {'; '.join(machines)}. Versions: {', '.join(versions)}."]


def _score(row: dict[str, Any], key: str) -> str:
    if key not in row:
        return ""
    spread = row.get(f"{key}_std")
    return f"{row[key]:.2f}" + ("" if spread is None else f" ± {spread:.2f}")


def tables(folder: Path) -> str:
    """Both tables of a run.

    Raises:
        UserError: the folder holds no finished run.
    """
    try:
        summary = json.loads((folder / "metrics" / "summary.json").read_text())
    except OSError as error:
        raise UserError(f"{folder}/metrics/summary.json: {error.strerror}: run `dvc repro` first") from None
    records = [json.loads(path.read_text()) for path in sorted((folder / "data" / "runs").glob("*.json"))]
    return "\n".join([*scores(summary), *(["", *costs(records)] if records else [])])


if __name__ == "__main__":
    try:
        print(tables(Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
    except UserError as error:
        sys.exit(f"error: {error}")
