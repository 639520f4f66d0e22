"""Exported students in the report: the scores of each form on both splits, its speed and its size."""

from __future__ import annotations

from distill.report import formatting
from distill.report.results import Results, heading, scale
from distill.report.tables import Cell, Table, filled, number_cell

#: What each form is called.
FORMS = {
    "pytorch": "PyTorch, float32",
    "onnx": "ONNX, float32",
    "int8": "ONNX, int8",
    "openvino": "OpenVINO, float32",
    "openvino_int8": "OpenVINO, int8",
}


def table(results: Results) -> Table | None:
    """A row for each form of each student; None: nothing was exported."""
    if not results.exports:
        return None
    selection = f"selection_{results.metric}"
    columns = [
        ("Model", ""),
        (heading(results.metric), scale(results.metric)),
        (heading(selection), scale(results.metric)),
        ("Latency at batch 1", "ms"),
        ("9 of 10 rows within", "ms"),
        ("Times as fast as PyTorch", ""),
        ("Throughput", "examples/s"),
        ("Size", "MB"),
    ]
    rows = []
    for label, exported in results.exports.items():
        latency, refused = exported["latency_ms"], (exported.get("int8") or {}).get("refused")
        for form, scores in exported["scores"].items():
            name = f"{label}, {FORMS[form]}" + (", refused" if refused and form.endswith("int8") else "")
            speed_up = formatting.ratio(latency.get("pytorch"), latency.get(form))
            rows.append(
                [
                    Cell(name, name),
                    number_cell(scores.get(results.metric)),
                    number_cell(exported.get("selection", {}).get(form, {}).get(results.metric)),
                    number_cell(latency.get(form), 1),
                    number_cell(exported.get("latency_ms_p90", {}).get(form), 1),
                    Cell(formatting.times(speed_up), speed_up),
                    number_cell(exported["throughput"].get(form), 1),
                    number_cell(exported["size_mb"].get(form), 1),
                ]
            )
    return filled("exports", "Exported students", columns, rows)


def notes(results: Results) -> list[str]:
    """What was left out of int8, what was trained for it, and why one was refused; the machine of the timings."""
    found = []
    for label, exported in results.exports.items():
        made = exported.get("int8") or {}
        if made.get("refused"):
            found.append(f"{label}: not exported: {made['refused']}.")
        elif made.get("left_out") or made.get("trained"):
            part = f"{len(made['left_out'])} of {made['nodes']} nodes stay in float32"
            trained = ", and the student was trained to bear it" if made["trained"] else ""
            found.append(f"{label}: so that int8 holds the score, {part}{trained}.")
    if results.exports:
        places = ", ".join(_machines(results))
        found.append(
            f"Measured by stage export, the forms of a student in turns, {places}. Its times are not those of the first"
            " table, which stage cost took on other rows and beside the teacher: compare within a table."
        )
    return found


def _machines(results: Results) -> list[str]:
    """Where the students were timed, each place once: "on cpu x86_64, 2 threads"."""
    places = (
        f"on {row['machine']}, {formatting.plural(row['threads'], 'thread')}"
        for row in results.exports.values()
        if {"machine", "threads"} <= row.keys()
    )
    return list(dict.fromkeys(places)) or ["on a machine that was not written down"]
