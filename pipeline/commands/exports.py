"""Exported students as a Markdown table: score, latency, throughput and size of each form.

    python -m pipeline.commands.exports [metrics/export/kd-1.json …]

docs/taking-it-away.md holds its output, so that no figure there is typed by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill.errors import UserError
from distill.report.exported import FORMS
from distill.runtime import json_files
from pipeline.process import command
from pipeline.stage import paths

_HEAD = (
    "form",
    "selection",
    "validation",
    "ms at batch 1",
    "90% within",
    "× PyTorch",
    "per second",
    "× PyTorch",
    "MB",
)


def table(exported: dict[str, Any]) -> str:
    """The table of one student, and below it what became of int8, the rows and the machine.

    Args:
        exported: content of metrics/export/<label>.json.
    """
    lines = [f"| {' | '.join(_HEAD)} |", "|---|" + "---:|" * (len(_HEAD) - 1)]
    metric, latency, throughput = exported["metric"], exported["latency_ms"], exported["throughput"]
    for form in exported["scores"]:
        cells = [f"{exported[split][form][metric]:.2f}" for split in ("selection", "scores")]
        cells += [f"{exported[name][form]:.2f}" for name in ("latency_ms", "latency_ms_p90")]
        cells.append(f"{latency['pytorch'] / latency[form]:.2f}")
        cells.append(f"{throughput[form]:,.1f}")
        cells.append(f"{throughput[form] / throughput['pytorch']:.2f}")
        cells.append(f"{exported['size_mb'][form]:.1f}")
        lines.append(f"| {FORMS[form]} | {' | '.join(cells)} |")
    counts = (exported[name] for name in ("selection_examples", "examples"))
    rows = "{:,} and {:,} examples".format(*counts)
    about = f"{metric} on {rows}; batches of {exported['batch_size']} for the throughput."
    machine = f"Machine: {exported['machine']}; threads: {exported['threads']}."
    return "\n".join([*lines, "", " ".join([about, machine, *_int8(exported.get("int8"))])])


def _int8(made: dict[str, Any] | None) -> list[str]:
    if made is None:
        return []
    if made["refused"]:
        return [f"Not exported: {made['refused']}."]
    trained = ", of a student that was trained to bear it" if made["trained"] else ""
    verb = "gains" if made["loss"] < 0 else "loses"
    return [
        f"int8: {made['kind']}, {made['weight_bits']} bits, {len(made['left_out'])} of {made['nodes']} nodes left"
        f" out{trained}; it {verb} {abs(made['loss']):.2f} points on the selection split."
    ]


def main(files: Sequence[str]) -> None:
    """Print the tables of files, or of all students that were exported here.

    Raises:
        UserError: there is none, or one is no such file.
    """
    chosen = [Path(file) for file in files] or sorted((paths.METRICS / "export").glob("*.json"))
    if not chosen:
        raise UserError("metrics/export: holds no exported student: set export.methods and run `dvc repro`")
    for file in chosen:
        read = json_files.read(file, "run `dvc repro` first")
        if "metric" not in read:
            raise UserError(f"{file}: metric: missing: export the student again, by `dvc repro --force export`")
        print(f"{file.stem}\n\n{table(read)}\n")


if __name__ == "__main__":
    sys.exit(command.run(lambda: main(sys.argv[1:])))
