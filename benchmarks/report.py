"""Figures of the benchmark: what a results file holds, its arithmetic, and its Markdown table.

A results file is one JSON object, checked on every write and read: a misspelt or missing field is an error.
"""

from __future__ import annotations

import datetime
import json
import platform
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

FORMAT = 1


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Spread(_Strict):
    """Median, least and greatest of several rounds."""

    median: float
    least: float
    greatest: float


class Round(_Strict):
    """What one system did when it was its turn: the answer of its gate (`benchmarks.gate`)."""

    seconds: float
    cpu_seconds: float
    updates: int
    rows: int
    real_tokens: int
    padded_tokens: int
    squares: int
    anonymous_bytes: int
    peak_bytes: int


class Row(_Strict):
    """One system in one suite.

    Attributes:
        system: whose code it is.
        form: what it trains, and how rows are padded.
        mfu: share of the device's peak that the model's own arithmetic on real tokens takes; None where the peak or the
            arithmetic is not known.
    """

    system: str
    form: str
    precision: Literal["fp32", "bf16"]
    rounds: list[Round]
    examples_per_second: Spread
    seconds_per_update: Spread
    padded_share: float
    peak_bytes: int
    mfu: float | None = None


class Ratio(_Strict):
    """A ratio of two rows and what it should reach; `goal` None: no goal, for comparison only."""

    name: str
    value: Spread
    goal: float | None = None
    sense: Literal["<=", ">="] | None = None

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the goal."""
        if self.goal is None:
            return None
        return self.value.median <= self.goal if self.sense == "<=" else self.value.median >= self.goal


class Suite(_Strict):
    """Systems measured in turns on the same rows and models.

    Attributes:
        tokens_mean: of a row, over all rows.
        left_out: systems that did not run.
        measured: the day, None where it was not noted.
    """

    title: str
    models: str
    batch_size: int
    rows_of_data: int
    tokens_mean: float
    rows: dict[str, Row]
    ratios: list[Ratio]
    left_out: list[str]
    measured: str | None = None


class Goal(_Strict):
    """A single figure with its goal, and whatever else was measured with it; `value` None: not measured, says why.

    Attributes:
        measured: the day, None where it was not noted.
    """

    name: str
    value: float | None
    unit: str
    goal: float
    details: dict[str, Any]
    measured: str | None = None

    @property
    def met(self) -> bool | None:
        """Whether the figure is at most the goal."""
        return None if self.value is None else self.value <= self.goal


class Machine(_Strict):
    """Where it was measured."""

    processor: str
    device: str
    threads: int
    memory_bytes: int
    system: str


class Report(_Strict):
    """A results file.

    Attributes:
        quick: a smoke run, whose figures mean nothing.
    """

    format: Literal[1]
    machine: Machine
    versions: dict[str, str]
    quick: bool
    suites: dict[str, Suite]
    goals: dict[str, Goal]


def spread(values: Iterable[float]) -> Spread:
    """Median, least and greatest."""
    found = list(values)
    return Spread(median=statistics.median(found), least=min(found), greatest=max(found))


def row(system: str, form: str, precision: str, rounds: Sequence[dict[str, Any]], mfu: float | None = None) -> Row:
    """Figures of a system from the answers of its gate, one per round.

    Its share of padding is over all rounds, its peak of memory the greatest.

    Raises:
        pydantic.ValidationError: an answer lacks a field, or has one too many.
    """
    checked = [Round.model_validate(answer) for answer in rounds]
    padded, real = (sum(getattr(r, name) for r in checked) for name in ("padded_tokens", "real_tokens"))
    return Row(
        system=system,
        form=form,
        precision=precision,
        rounds=checked,
        examples_per_second=spread(r.rows / r.seconds for r in checked),
        seconds_per_update=spread(r.seconds / r.updates for r in checked),
        padded_share=padded / (padded + real),
        peak_bytes=max(r.peak_bytes for r in checked),
        mfu=mfu,
    )


def time_ratio(above: Row, *below: Row) -> Spread:
    """Time per update of a row over the sum of others', round by round."""
    parts = zip(above.rounds, *(other.rounds for other in below), strict=True)
    return spread(_update(first) / sum(map(_update, others)) for first, *others in parts)


def speed_ratio(above: Row, below: Row) -> Spread:
    """Examples per second of a row over another's, round by round."""
    return spread(_speed(a) / _speed(b) for a, b in zip(above.rounds, below.rounds, strict=True))


def _update(one: Round) -> float:
    return one.seconds / one.updates


def _speed(one: Round) -> float:
    return one.rows / one.seconds


def write(report: Report, path: Path) -> None:
    """The results file, and its table beside it (.md)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = report.model_dump(mode="json", exclude_none=False)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(table(report), encoding="utf-8")


def today() -> str:
    """The day, for `measured`."""
    return datetime.date.today().isoformat()


def other_conditions(earlier: Report, machine: Machine, versions: Mapping[str, str]) -> list[str]:
    """In what an earlier report's machine and versions differ; packages that only one of both has do not count."""
    before = {name: str(value) for name, value in earlier.machine.model_dump().items()} | earlier.versions
    now = {name: str(value) for name, value in machine.model_dump().items()} | dict(versions)
    return [f"{name} {before[name]}, not {now[name]}" for name in before if name in now and before[name] != now[name]]


def merged(earlier: Report, later: Report) -> Report:
    """What a run has measured, and of an earlier one, under the same conditions, what it has not."""
    goals = {name: goal for name, goal in later.goals.items() if goal.value is not None or name not in earlier.goals}
    return later.model_copy(
        update={
            "versions": earlier.versions | later.versions,
            "suites": earlier.suites | later.suites,
            "goals": earlier.goals | goals,
        }
    )


def add_goal(path: Path, key: str, goal: Goal) -> None:
    """Put a figure that was measured by itself into a results file."""
    report = read(path)
    write(report.model_copy(update={"goals": report.goals | {key: goal}}), path)


def read(path: Path) -> Report:
    """What `write` wrote; pydantic's ValidationError where the file is another's."""
    return Report.model_validate_json(path.read_text(encoding="utf-8"))


def machine_name(machine: Machine) -> str:
    """A file name for the machine: what computes, and its threads or GPU memory."""
    what = machine.device if machine.device != "cpu" else f"{machine.processor} {machine.threads} threads"
    return re.sub(r"[^a-z0-9]+", "-", what.lower()).strip("-")


def versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of the installed packages among these."""
    from importlib import metadata

    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def table(report: Report) -> str:
    """The report as Markdown."""
    machine = report.machine
    gib = machine.memory_bytes / 2**30
    lines = [f"# Speed on {machine.processor}, {machine.threads} threads, {gib:.0f} GiB, {machine.device}", ""]
    if report.quick:
        lines += ["**A smoke run (`--quick`): it shows that all runs, its figures mean nothing.**", ""]
    named = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    lines += [f"{machine.system}; {named}. Medians over rounds, least and greatest in brackets.", ""]
    for suite in report.suites.values():
        lines += _suite(suite, report.quick)
    if report.goals:
        lines += ["## Single figures", "", "| | measured | goal | |", "|---|---|---|---|"]
        for goal in report.goals.values():
            value = "not measured" if goal.value is None else f"{_number(goal.value)} {goal.unit}".rstrip()
            facts = goal.details | ({"measured on": goal.measured} if goal.measured else {})
            details = ", ".join(f"{name} {_number(found)}" for name, found in facts.items())
            cells = [goal.name + (f" ({details})" if details else ""), value, f"≤ {goal.goal:g} {goal.unit}".rstrip()]
            lines.append(_line([*cells, _verdict(goal.met, report.quick)]))
        lines.append("")
    return "\n".join(lines)


def _suite(suite: Suite, quick: bool) -> list[str]:
    about = f"{suite.models}; {suite.batch_size} rows per update, {suite.tokens_mean:.0f} tokens in the mean."
    about += f" Measured on {suite.measured}." if suite.measured else ""
    lines = [f"## {suite.title}", "", about, ""]
    with_mfu = any(row.mfu is not None for row in suite.rows.values())
    titles = ["", "system", "precision", "examples/s", "s per update", "padding", "peak memory"]
    titles += ["MFU"] if with_mfu else []
    lines += [_line(titles), "|" + "---|" * len(titles)]
    for row in suite.rows.values():
        cells = [row.form, row.system, row.precision, _spread(row.examples_per_second), _spread(row.seconds_per_update)]
        cells += [f"{row.padded_share:.1%}", f"{row.peak_bytes / 2**20:,.0f} MiB"]
        cells += [("" if row.mfu is None else f"{row.mfu:.1%}")] if with_mfu else []
        lines.append(_line(cells))
    if suite.left_out:
        lines += ["", f"Left out, because they did not run: {', '.join(suite.left_out)}."]
    if suite.ratios:
        lines += ["", _line(["ratio", "measured", "goal", ""]), "|---|---|---|---|"]
        for ratio in suite.ratios:
            sign = {"<=": "≤", ">=": "≥", None: ""}[ratio.sense]
            goal = "" if ratio.goal is None else f"{sign} {ratio.goal:g}"
            lines.append(_line([ratio.name, _spread(ratio.value), goal, _verdict(ratio.met, quick)]))
    return [*lines, ""]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _spread(value: Spread) -> str:
    return f"{_number(value.median)} ({_number(value.least)}–{_number(value.greatest)})"


def _number(value: Any) -> str:
    """Three significant digits; text as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}" if abs(value) < 10 else f"{value:.1f}"


def _verdict(met: bool | None, quick: bool) -> str:
    return "" if quick or met is None else "met" if met else "missed"
