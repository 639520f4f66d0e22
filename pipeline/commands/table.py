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

from distill.report.results import title
from distill.runtime import json_files
from pipeline.process import command
from pipeline.process.records import read_record
from pipeline.summary import contents

#: Scores of any task that have a column where a run has them; the one that methods are compared by has one anyway.
SHOWN = (
    *("em", "f1", "precision", "recall", "has_answer_f1", "no_answer_f1", "tuned_f1"),
    *("micro_f1", "macro_ap", "subset_accuracy", "accuracy", "mcc", "pearson", "spearman"),
    *("ndcg_10", "mrr_10", "map", "recall_1"),
)


def scores(summary: dict[str, dict[str, Any]]) -> list[str]:
    """A row per model; ± is the standard deviation over seeds, where there are several.

    The last column is the difference to `ft`, the same start trained for as many updates with the task loss alone.
    """
    main = compared_by(summary)
    shown = [key for key in dict.fromkeys([*SHOWN, main]) if any(key in row for row in summary.values())]
    shown += [f"selection_{main}"] if any(f"selection_{main}" in row for row in summary.values()) else []
    difference = "ft" in summary and main in summary["ft"]
    titles = [title(key) for key in shown] + ([f"{title(main)} − ft"] if difference else [])
    lines = ["| model | seeds | " + " | ".join(titles) + " |"]
    lines.append("|---|---|" + "---:|" * len(titles))
    for name, row in summary.items():
        cells = [_score(row, key) for key in shown]
        if difference:
            distilled = row["seeds"] and name != "ft"
            cells.append(f"{row[main] - summary['ft'][main]:+.2f}" if distilled else "")
        lines.append(f"| {name} | {', '.join(map(str, row['seeds'])) or '–'} | " + " | ".join(cells) + " |")
    return lines


def compared_by(summary: dict[str, dict[str, Any]]) -> str:
    """The score by which a run's methods were compared.

    It is the one with a difference; in a run that has none, one that was measured on the selection split.
    """
    scores = list(dict.fromkeys(key for row in summary.values() for key in row))
    compared = [key.partition("_vs_")[0] for key in scores if "_vs_" in key]
    chosen = [key for key in SHOWN if f"selection_{key}" in scores and key != "em"]  # questions have F1 there, too
    return [*compared, *chosen, *scores][0]


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
