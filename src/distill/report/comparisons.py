"""The report's further comparisons: all against other baselines, fresh seeds, and what was looked at before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distill.analysis.power import POWER
from distill.report import formatting
from distill.report.results import Results, heading, scale, title
from distill.report.tables import Cell, Table, filled

#: From so many methods on, one that is picked is picked among several.
SEVERAL = 2
CONFIRM = "python -m pipeline.commands.confirm"


def against(results: Results) -> list[Table]:
    """A table for each of `compare.also`: all methods against it."""
    return [
        _table(results, results.summary, f"against-{other}", f"All against {other}", other, f"verdict_vs_{other}")
        for other in results.also
    ]


def confirmed(results: Results) -> Table | None:
    """The methods of section `confirm` on their fresh seeds; None where there are none."""
    if not results.confirm:
        return None
    caption = f"On fresh seeds: {formatting.listed(_fresh(results))}"
    return _table(results, results.confirm, "confirmed", caption, results.baseline, "verdict")


def confirmation(results: Results) -> str:
    """What fresh seeds say of the methods that are confirmed; empty where there are none."""
    rows = {name: row for name, row in results.confirm.items() if row.get("verdict")}
    if not rows:
        return ""
    parts = []
    for name, row in rows.items():
        low, high = (row[f"{results.metric}_vs_{results.baseline}_{end}"] for end in ("low", "high"))
        difference = row[f"{results.metric}_vs_{results.baseline}"]
        side = "above" if difference >= 0 else "below"
        parts.append(
            f"{name} is {formatting.number(abs(difference))} points {side} {results.baseline}"
            f" ({row['verdict']}, {formatting.interval(low, high)})"
        )
    seeds = formatting.plural(len(_fresh(results)), "fresh seed")
    return f"On {seeds}, by which nothing was picked: {'; '.join(parts)}. This verdict counts."


def picked(results: Results) -> tuple[str, str]:
    """(a warning of the luck in a method that was picked among several, the command that cures it); empty: none is."""
    if results.chosen is None or len(results.rivals) < SEVERAL or results.confirm:
        return "", ""
    text = (
        f"{results.chosen} was picked among {len(results.rivals)} methods. Luck of a seed is in the selection split and"
        f" in the reported one, so its lead in {title(results.metric)} is too large on average, the more so with one"
        " seed (docs/reports.md has numbers). Fresh seeds tell:"
    )
    return text, CONFIRM


def looks(results: Results) -> str:
    """What Git's history knows of earlier looks at results on this data; empty: there was none."""
    history = results.looks
    if history is None:
        return "Whether these results were looked at with fewer seeds before is unknown: there is no Git history."
    parts = []
    if fewer := history["seeds"]:
        counted = formatting.plural(history["summaries"], "earlier summary").replace("summarys", "summaries")
        parts.append(
            f"Git's history has {counted} of this data with seeds"
            f" {formatting.listed(['+'.join(map(str, seeds)) for seeds in fewer])} alone. Seeds that were added after a"
            " look make `better` and `worse` likelier than intervals and p say"
        )
    if gone := history["methods"]:
        parts.append(f"methods that were looked at and are not in this run: {formatting.listed(gone)}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _fresh(results: Results) -> list[int]:
    return next((row["seeds"] for row in results.confirm.values() if row["seeds"]), [])


def _table(
    results: Results, rows: Mapping[str, Mapping[str, Any]], name: str, caption: str, base: str, verdict: str
) -> Table:
    metric, level = results.metric, f"{results.confidence * 100:g}% interval"
    columns = [("Model", ""), (heading(metric), scale(metric)), (f"Difference to {base}", "points"), (level, "")]
    columns += [("p", ""), ("Smallest difference", f"found in {POWER:.0%}"), ("Verdict", "")]
    lines = []
    for model, row in rows.items():
        value, low, high, p, least = (
            row.get(f"{metric}_vs_{base}{end}") for end in ("", "_low", "_high", "_p", "_detectable")
        )
        if value is None and model != base:
            continue
        said = row.get(verdict)
        lines.append(
            [
                Cell(model, model),
                Cell(formatting.spread(row.get(metric), row.get(f"{metric}_std")), row.get(metric)),
                Cell(formatting.number(value, signed=True), value),
                Cell(formatting.interval(low, high), low),
                Cell(formatting.probability(p), p),
                Cell(formatting.number(least), least),
                Cell(said or formatting.NONE, said, (said or "").replace(" ", "-")),
            ]
        )
    return filled(name, caption, columns, lines)
