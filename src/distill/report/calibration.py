"""The report's table of calibration: how far confidence can be trusted, before and after temperature scaling."""

from __future__ import annotations

from distill.report import formatting
from distill.report.results import Results
from distill.report.tables import Cell, Table, filled

WHEN = (("", "before"), ("_calibrated", "after"))


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
