"""Results as Markdown: reads metrics/summary.json and data/runs/ and prints tables.

    python -m pipeline.commands.table [folder]

docs/results.md holds its output, so that no figure there is typed by hand.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from distill.runtime import json_files
from pipeline.process import command
from pipeline.process.records import read_record
from pipeline.summary import contents

SCORES = (
    ("em", "EM"),
    ("f1", "F1"),
    ("has_answer_f1", "HasAns F1"),
    ("no_answer_f1", "NoAns F1"),
    ("tuned_f1", "F1, tuned threshold"),
    ("accuracy", "accuracy"),
    ("mcc", "MCC"),
    ("pearson", "Pearson"),
    ("spearman", "Spearman"),
    ("selection_f1", "selection F1"),
    ("selection_accuracy", "selection accuracy"),
    ("selection_pearson", "selection Pearson"),
)
# The first of these that a run has is compared with `ft`.
MAIN = ("accuracy", "pearson", "f1")


def scores(summary: dict[str, dict[str, Any]]) -> list[str]:
    """A row per model; ± is the standard deviation over seeds, where there are several.

    The last column is the difference to `ft`, the same start trained for as many updates with the task loss alone.
    """
    shown = [(key, title) for key, title in SCORES if any(key in row for row in summary.values())]
    main = next((key for key in MAIN if key in summary.get("ft", {})), None)
    titles = [title for _, title in shown] + ([f"{dict(SCORES)[main]} − ft"] if main else [])
    lines = ["| model | seeds | " + " | ".join(titles) + " |"]
    lines.append("|---|---|" + "---:|" * len(titles))
    for name, row in summary.items():
        cells = [_score(row, key) for key, _ in shown]
        if main:
            distilled = row["seeds"] and name != "ft"
            cells.append(f"{row[main] - summary['ft'][main]:+.2f}" if distilled else "")
        lines.append(f"| {name} | {', '.join(map(str, row['seeds'])) or '–'} | " + " | ".join(cells) + " |")
    return lines


def costs(records: list[dict[str, Any]]) -> list[str]:
    """A row per stage, means over its seeds: wall time, updates and examples per second of the part not resumed."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in sorted(records, key=lambda record: record["stage"]):
        if record.get("needed", True):
            groups.setdefault(re.sub(r"(@.*)-\d+$", r"\1", record["stage"]), []).append(record)
    lines = ["| stage | runs | seconds | updates | examples/s |", "|---|---:|---:|---:|---:|"]
    for stage, runs in groups.items():
        resumed = f" (from {runs[0]['resumed_from']:,})" if runs[0].get("resumed_from") else ""
        speeds = [run["examples_per_second"] for run in runs if run.get("examples_per_second") is not None]
        updates = runs[0].get("updates")
        lines.append(
            f"| {stage} | {len(runs)} | {fmean(run['seconds'] for run in runs):,.0f} |"
            f" {'' if updates is None else f'{updates:,}'}{resumed} | {f'{fmean(speeds):,.1f}' if speeds else ''} |"
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
    summary = json_files.read(folder / "metrics" / "summary.json", "run `dvc repro` first", contents.SUMMARY)
    records = [read_record(path) for path in sorted((folder / "data" / "runs").glob("*.json"))]
    records = [record for record in records if {"stage", "seconds", "device", "versions"} <= record.keys()]
    return "\n".join([*scores(summary), *(["", *costs(records)] if records else [])])


if __name__ == "__main__":
    sys.exit(command.run(lambda: print(tables(Path(sys.argv[1] if len(sys.argv) > 1 else ".")))))
