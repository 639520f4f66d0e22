"""The report's tables as plain rows, for the page and for Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from distill.analysis.power import POWER
from distill.report import formatting
from distill.report.results import FINE_TUNED, Results, heading, scale


@dataclass(frozen=True)
class Cell:
    """A table's cell.

    Attributes:
        text: text that people read.
        value: sort key, in full precision; None: no value, sorted last.
        kind: CSS class: "" | "better" | "worse" | "cannot-tell" | "one-seed".
    """

    text: str
    value: float | str | None = None
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """Columns are (title, note below it); the first one names the row."""

    name: str
    caption: str
    columns: list[tuple[str, str]]
    rows: list[list[Cell]] = field(default_factory=list)
    sortable: bool = True


def _name(text: str) -> Cell:
    return Cell(text, text)


def number_cell(value: float | None, digits: int = 2, signed: bool = False) -> Cell:
    """A number, rounded as it is shown."""
    return Cell(formatting.number(value, digits, signed), value)


def _score(row: Any, score: str) -> Cell:
    return Cell(formatting.spread(row.get(score), row.get(f"{score}_std")), row.get(score))


def filled(name: str, caption: str, columns: list[tuple[str, str]], rows: list[list[Cell]]) -> Table:
    """A table without columns that no row fills."""
    filled = [i for i in range(len(columns)) if i == 0 or any(row[i].value is not None for row in rows)]
    return Table(name, caption, [columns[i] for i in filled], [[row[i] for i in filled] for row in rows])


def comparison(results: Results) -> Table:
    """A row per model: the main score, its difference to the baseline with interval and p, gap closed, verdict."""
    shown = [score for score in results.shown if score != results.metric and not score.startswith("tuned_")]
    level = f"{results.confidence * 100:g}% interval"
    columns = [
        ("Model", ""),
        (heading(results.metric), scale(results.metric)),
        (f"Difference to {results.baseline}", "points"),
        (level, ""),
        ("Verdict", ""),  # so far the columns that a phone's screen shows
        ("p", ""),
    ]
    columns += [
        ("Gap closed", "%"),
        ("Gap closed", level),
        ("Smallest difference", f"found in {POWER:.0%}"),
        ("Labelled rows", f"/ {results.baseline}"),
        ("Student passes", "per row"),
        ("Teacher passes", "per row, running along"),
        ("Training time", f"/ {results.baseline}"),
        ("With upstream", f"/ {results.baseline}"),
        *((heading(score), scale(score)) for score in shown),
        *((heading(score), "evaluate.extra") for score in results.extra),
        ("Seeds", ""),
    ]
    rows, base = [], results.training.get(results.baseline, {})
    for name, row in results.summary.items():
        low, high, p = (results.versus(name, what) for what in ("low", "high", "p"))
        spent = results.training.get(name, {})
        verdict = results.verdict(name)
        closed = row.get("gap_closed_low"), row.get("gap_closed_high")
        rows.append(
            [
                _name(name),
                _score(row, results.metric),
                number_cell(results.versus(name), signed=True),
                Cell(formatting.interval(low, high), low),
                Cell(verdict or formatting.NONE, verdict, (verdict or "").replace(" ", "-")),
                Cell(formatting.probability(p), p),
                number_cell(results.closed(name), 0),
                Cell(formatting.interval(*closed, 0), closed[0]),
                number_cell(results.versus(name, "detectable")),
                _multiple(name, spent, base, "labelled_rows"),
                *(number_cell(spent.get(key), 1) for key in ("student_passes", "teacher_passes")),
                *(_multiple(name, spent, base, key) for key in ("seconds", "total_seconds")),
                *(_score(row, score) for score in (*shown, *results.extra)),
                Cell(str(len(row["seeds"]) or formatting.NONE), len(row["seeds"]) or None),
            ]
        )
    spread = ", mean ± standard deviation over seeds" if len(results.seeds) > 1 else ""
    return filled("comparison", f"Scores on the validation split{spread}", columns, rows)


def tuned(results: Results) -> Table | None:
    """Scores at null threshold 0 (several labels: 0.5) and at those tuned on the selection split; None without any."""
    scores = [score for score in results.shown if score.startswith("tuned_")]
    scores = [score for score in scores if any(score in row for row in results.summary.values())]
    if not scores:
        return None
    pairs = [(score.removeprefix("tuned_"), score) for score in scores]
    several = results.settings.get("task") == "multi_label"
    untuned = "threshold 0.5" if several else "threshold 0"
    columns = [("Model", "")]
    for plain, _ in pairs:
        columns += [(heading(plain), untuned), (heading(plain), "tuned threshold")]
        columns += [("Gain", f"{heading(plain)} points")]
    rows = []
    for name, row in results.summary.items():
        cells = [_name(name)]
        for plain, score in pairs:
            gain = row[score] - row[plain] if row.get(score) is not None and row.get(plain) is not None else None
            cells += [_score(row, plain), _score(row, score), number_cell(gain, signed=True)]
        rows.append(cells)
    what = "Thresholds of 0.5" if several else "Null threshold 0"
    return filled("tuned", f"{what}, and tuned on the selection split", columns, rows)


def oracle(results: Results) -> Table | None:
    """The official evaluator's best_exact and best_f1: tuned on the reported split itself."""
    by_model = results.analysis.get("oracle")
    if not by_model:
        return None
    keys = list(next(iter(by_model.values())))
    rows = [[_name(name), *(number_cell(row.get(key)) for key in keys)] for name, row in by_model.items()]
    columns = [("Model", ""), *((f"Best {heading(key[5:-7])} (oracle)", "mean over seeds") for key in keys)]
    return filled("oracle", "Oracle: threshold tuned on the reported split itself; no fair result", columns, rows)


def cost(results: Results) -> Table | None:
    """Teacher and student side by side."""
    models = results.cost.get("models", {})
    if not models:
        return None
    teacher, student = models.get("teacher", {}), models.get("student", {})
    lines = [
        ("Parameters", "parameters", formatting.short),
        ("… without embeddings", "parameters_without_embeddings", formatting.short),
        ("FLOPs per token, forward", "flops_per_token", formatting.short),
        ("Checkpoint, MB", "checkpoint_mb", lambda value: formatting.number(value, 1)),
        ("Latency at batch 1, ms (median)", "latency_ms", lambda value: formatting.number(value, 1)),
        ("… 10th percentile, ms", "latency_ms_p10", lambda value: formatting.number(value, 1)),
        ("… 90th percentile, ms", "latency_ms_p90", lambda value: formatting.number(value, 1)),
        ("Throughput, examples/s", "throughput", lambda value: formatting.number(value, 1)),
        ("… at batch size", "throughput_batch", lambda value: formatting.number(value, 0)),
    ]
    rows = []
    for label, key, form in lines:
        if teacher.get(key) is None and student.get(key) is None:
            continue
        share = formatting.ratio(student.get(key), teacher.get(key)) if key != "throughput_batch" else None
        rows.append(
            [
                _name(label),
                *(Cell(form(row.get(key)), row.get(key)) for row in (teacher, student)),
                Cell(formatting.times(share), share),
            ]
        )
    columns = [("", ""), ("Teacher", ""), ("Student", "every method"), ("Student / teacher", "")]
    return Table("cost", "What one prediction costs", columns, rows, sortable=False)


def training(results: Results) -> Table | None:
    """What training cost, per model: means over seeds."""
    if not results.training:
        return None
    base = results.training.get(results.baseline, {})
    columns = [
        ("Model", ""),
        ("Runs", ""),
        ("Labelled rows", ""),
        (f"… / {results.baseline}", ""),
        ("Unlabelled rows", "of the transfer set"),
        ("Student passes", "per row"),
        ("Teacher passes", "per row, running along"),
        ("Time", "per run"),
        (f"… / {results.baseline}", ""),
        ("Upstream", "before the method's own"),
        ("Time with upstream", ""),
        (f"… / {results.baseline}", ""),
        ("Updates", ""),
        ("Ended early", "runs, by patience"),
        ("Examples/s", ""),
        ("Peak memory", "MB"),
        ("Peak GPU memory", "MB"),
    ]
    rows = []
    for name, row in results.training.items():
        upstream = row.get("teacher_seconds") or None
        rows.append(
            [
                _name(name),
                number_cell(row.get("runs"), 0),
                number_cell(row.get("labelled_rows"), 0),
                _multiple(name, row, base, "labelled_rows"),
                number_cell(row.get("unlabelled_rows"), 0),
                number_cell(row.get("student_passes"), 1),
                number_cell(row.get("teacher_passes"), 1),
                Cell(formatting.duration(row.get("seconds")), row.get("seconds")),
                _multiple(name, row, base, "seconds"),
                Cell(formatting.duration(upstream), upstream),
                Cell(formatting.duration(row.get("total_seconds")), row.get("total_seconds")),
                _multiple(name, row, base, "total_seconds"),
                number_cell(row.get("updates"), 0),
                number_cell(row.get("stopped_early"), 0),
                number_cell(row.get("examples_per_second"), 1),
                number_cell(row.get("peak_memory_mb"), 0),
                number_cell(row.get("peak_gpu_memory_mb"), 0),
            ]
        )
    return filled("training", "What training cost, means over seeds", columns, rows)


def _multiple(name: str, row: Mapping[str, Any], base: Mapping[str, Any], key: str) -> Cell:
    """A cost as a multiple of the baseline's; none for the models before any method."""
    share = None
    if name not in FINE_TUNED and row.get(key) is not None and base.get(key):
        share = row[key] / base[key]
    return Cell(formatting.times(share), share)


def slices(results: Results) -> list[Table]:
    """A table per slice: models by groups."""
    tables = []
    for part in results.analysis.get("slices", []):
        groups = part["groups"]
        columns = [
            ("Model", ""),
            *((group["group"], formatting.plural(group["examples"], "example")) for group in groups),
        ]
        rows = [
            [_name(name), *(number_cell(group["scores"].get(name)) for group in groups)]
            for name in results.summary
            if any(name in group["scores"] for group in groups)
        ]
        tables.append(
            Table(part["name"], f"{part['title']}: {heading(part['metric'])}, {scale(part['metric'])}", columns, rows)
        )
    return tables


def agreement(results: Results) -> Table | None:
    """How often a model answers as the teacher does."""
    if not results.analysis.get("agreement"):
        return None
    unit = "Pearson × 100" if "pearson" in next(iter(results.summary.values())) else "% of examples"
    rows = [[_name(name), number_cell(value)] for name, value in results.analysis["agreement"].items()]
    return Table("agreement", "Agreement with the teacher", [("Model", ""), ("Agreement", unit)], rows)


def disagreements(results: Results) -> Table | None:
    """Which of teacher, baseline and the chosen method are right, and how often."""
    content = results.analysis.get("disagreements", {})
    if not content.get("counts"):
        return None
    models = content["models"]
    rows = [
        [
            *(Cell("right" if name in line["right"] else "wrong", int(name in line["right"])) for name in models),
            number_cell(line["examples"], 0),
        ]
        for line in content["counts"]
    ]
    columns = [*((name, "") for name in models), ("Examples", "")]
    return Table("disagreements", "Who is right, first seed", columns, rows)


def sweeps(results: Results) -> list[Table]:
    """A table per sweep: the selection score, by which the value is chosen, and the reported one."""
    tables = []
    for name, frame in results.sweeps.items():
        scores = [score for score in (f"selection_{results.metric}", results.metric) if score in frame]
        if not scores:  # a sweep of another task
            continue
        values = parameters(frame)
        columns = [(column if column != "value" else name, "") for column in values]
        columns += [*((heading(score), "") for score in scores), ("Experiment", "")]
        rows = [
            [
                *(_plain(row[column]) for column in values),
                *(_score({k: v for k, v in row.items() if v == v}, score) for score in scores),
                _name(str(row.get("experiment", ""))),
            ]
            for row in frame.to_dict("records")
        ]
        tables.append(Table(f"sweep-{name}", name, columns, rows))
    return tables


def parameters(frame: Any) -> list[str]:
    """The columns of a sweep that hold values of parameters: between the experiment and the scores."""
    columns = list(frame.columns)
    ends = [columns.index(name) for name in ("model", "seeds") if name in columns]
    return columns[1 : min(ends, default=2)]


def commands(results: Results) -> Table | None:
    """The commands that reproduce the rows of the comparison."""
    if not results.commands:
        return None
    rows = [[_name(name), Cell(command, command, "code")] for name, command in results.commands.items()]
    return Table("commands", "What makes a row again", [("Model", ""), ("Command", "")], rows, sortable=False)


def _plain(value: Any) -> Cell:
    if isinstance(value, str):
        return _name(value)
    if value is None or value != value:
        return Cell(formatting.NONE)
    return Cell(f"{value:g}", float(value))
