"""The report's table of calibration: how far confidence can be trusted, before and after temperature scaling."""

from __future__ import annotations

from distill.report import formatting
from distill.report.results import Results
from distill.report.tables import Cell, Table, filled

WHEN = (("", "before"), ("_calibrated", "after"))
#: Of fewer examples on the selection split a temperature says little: a tenth of them is a handful.
FEW = 100


def table(results: Results) -> Table | None:
    """Calibration errors with intervals, Brier scores and log-losses of the answers, means over seeds."""
    if not results.analysis.get("calibration"):
        return None
    level = f"{results.confidence * 100:g}% interval, examples"
    columns = [("Model", "")]
    for _, when in WHEN:
        columns += [(f"ECE {when}", "%"), (f"ECE {when}", level)]
    columns += [(f"{name} {when}", unit) for name, unit in (("Brier", "0–1"), ("Log-loss", "nats")) for _, when in WHEN]
    columns.append(("Temperature", ""))
    rows = []
    for name, row in results.analysis["calibration"].items():
        cells = [Cell(name, name)]
        for end, _ in WHEN:
            value, low, high = (row.get(f"ece{end}{bound}") for bound in ("", "_low", "_high"))
            cells += [Cell(formatting.number(value), value), Cell(formatting.interval(low, high, signed=False), low)]
        for score in ("answer_brier", "answer_log_loss"):
            cells += [Cell(formatting.number(row.get(f"{score}{end}"), 3), row.get(f"{score}{end}")) for end, _ in WHEN]
        cells.append(Cell(formatting.number(row.get("temperature")), row.get("temperature")))
        rows.append(cells)
    return filled("calibration", "Calibration of the answers, means over seeds; lower is better", columns, rows)


def notes(results: Results) -> list[str]:
    """Where temperature scaling cannot be trusted: it has made calibration worse, or few examples were there to fit."""
    rows = results.analysis.get("calibration", {})
    if not rows:
        return []
    count = results.analysis.get("rows", {}).get("selection")
    on = f"the {count:,} examples of the selection split" if count else "the selection split"
    worse = [
        f"{name} (ECE {formatting.number(row['ece'])} → {formatting.number(row['ece_calibrated'])}%)"
        for name, row in rows.items()
        if row["ece_calibrated"] > row["ece"]
    ]
    lines = []
    if worse:
        lines.append(
            f"Temperature scaling, fitted on {on}, made the calibration on the validation split worse for"
            f" {formatting.listed(worse)}: take the unscaled confidence there."
        )
    if count is not None and count < FEW:
        lines.append(
            f"The temperatures are fitted on {on}: too few to rely on. A larger data.selection_fraction, or a file in"
            " data.selection, gives more."
        )
    return lines
