"""Experiments that differ in one parameter or a few, as one table: the best value, by the selection split."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill.config import training
from distill.config.values import flatten
from distill.errors import UserError
from distill.runtime import csv_files

#: Sections that change no score and may differ between runs; `methods` may where it still names the model.
WITHOUT_EFFECT = ("compare", "confirm", "controls", "cost", "export", "methods", "quantization")
WITHOUT_EFFECT += ("runtime", "tracking")
_SELECTION = "selection_"


@dataclass(frozen=True)
class Run:
    """One run of the pipeline.

    Attributes:
        name: name of the experiment.
        params: params.yaml as plain values.
        summary: metrics/summary.json; empty if there is none.
        problem: reason why its scores do not belong to its parameters; empty: they do.
    """

    name: str
    params: Mapping[str, Any]
    summary: Mapping[str, Mapping[str, Any]]
    problem: str = ""


@dataclass(frozen=True)
class Point:
    """A run in a sweep: the values of the swept parameters, and one model's row of the summary."""

    name: str
    values: tuple[Any, ...]
    scores: Mapping[str, Any]
    methods: Sequence[str]


@dataclass
class Sweep:
    """The runs that differ in the swept parameters only.

    Attributes:
        parameters: dotted names.
        model: name of the model whose scores are compared: `teacher`, `student` or a method.
        points: the runs in their order, the baseline first.
        left_out: name of a run → reason why it is not among the points.
    """

    parameters: tuple[str, ...]
    model: str
    points: list[Point] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def selection(self) -> str:
        """The name of the score on the selection split, by which the best point is chosen: `selection_f1`."""
        names = [key for key in self.points[0].scores if key.startswith(_SELECTION) and not key.endswith("_std")]
        if not names:
            raise UserError(f"metrics/summary.json: {self.model} has no score on the selection split: run `dvc repro`")
        return names[0]

    @property
    def reported(self) -> str:
        """The name of the same score on the validation split."""
        return self.selection.removeprefix(_SELECTION)

    @property
    def best(self) -> Point:
        """The point with the highest selection score; of equal ones the first."""
        return max(self.points, key=lambda point: point.scores[self.selection])

    def ordered(self) -> list[Point]:
        """The points by value: numbers by size, and before everything else."""
        return sorted(self.points, key=lambda point: [_rank(value) for value in point.values])


def model_of(parameters: Sequence[str], models: Iterable[str]) -> str:
    """The model whose section has all the parameters.

    Raises:
        UserError: there is no such model, or there are several.
    """
    known = list(models)
    sections = {name.partition(".")[0] for name in parameters}
    if len(sections) == 1 and sections <= set(known):
        return sections.pop()
    raise UserError(
        f"{', '.join(parameters)}: not the section of one model: name the model whose scores to compare, e.g. --model"
        f" {known[-1] if known else 'kd'} (there are {', '.join(known) or 'none'})"
    )


def value_of(params: Mapping[str, Any], name: str) -> Any:
    """The value at a dotted name; the section of a training falls back on section `training`.

    Raises:
        UserError: there is none; the message has the nearest name.
    """
    at: Any = training.complete(params)
    for part in name.split("."):
        if not isinstance(at, Mapping) or part not in at:
            near = difflib.get_close_matches(name, flatten(dict(params)), n=1, cutoff=0.5)
            hint = f": did you mean {near[0]}?" if near else ": take a name from that file"
            raise UserError(f"params.yaml: {name}: no such parameter{hint}")
        at = at[part]
    return at


def collect(baseline: Run, runs: Iterable[Run], parameters: Sequence[str], model: str) -> Sweep:
    """The baseline, and the runs that differ from it in nothing but the parameters.

    Sections that change no score are not looked at. Lists of methods may differ as long as the same one names `model`.

    Raises:
        UserError: the baseline has no such parameter, or no run at all has scores of the model.
    """
    for name in parameters:
        value_of(baseline.params, name)
    sweep = Sweep(tuple(parameters), model)
    for run in [baseline, *runs]:
        if reason := _misfit(run, baseline, parameters, model):
            sweep.left_out[run.name] = reason
            continue
        values = tuple(value_of(run.params, name) for name in parameters)
        sweep.points.append(Point(run.name, values, run.summary[model], run.params.get("methods", ())))
    if not sweep.points:
        why = "; ".join(f"{name}: {reason}" for name, reason in sweep.left_out.items())
        raise UserError(f"no run has scores of {model} that can be compared ({why}): run `dvc repro`, and commit")
    return sweep


def _misfit(run: Run, baseline: Run, parameters: Sequence[str], model: str) -> str:
    """Why a run has no place in the sweep; empty: it has one."""
    if run.problem:
        return run.problem
    if model not in run.summary:
        return f"no scores of {model}"
    changed = differences(baseline.params, run.params)
    swept = [name for name in changed if any(_is_below(name, parameter) for parameter in parameters)]
    unwanted = [name for name in changed if name not in swept and name.partition(".")[0] not in WITHOUT_EFFECT]
    copies = [model in values.get("augment", {}).get("methods", []) for values in (baseline.params, run.params)]
    if copies[0] == copies[1] and "augment.methods" in unwanted:
        unwanted.remove("augment.methods")
    if run is not baseline and not swept:
        return f"does not change {' or '.join(parameters)}"
    if unwanted:
        more = f" and {len(unwanted) - 3} more" if len(unwanted) > 3 else ""
        return f"differs in {', '.join(unwanted[:3])}{more} too"
    return ""


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Dotted names whose values differ, or that one side lacks, in the order of `before`."""
    old, new = flatten(dict(before)), flatten(dict(after))
    missing = object()
    return [name for name in old | new if old.get(name, missing) != new.get(name, missing)]


def _is_below(name: str, parameter: str) -> bool:
    """A schedule is a mapping: `ted.mse_alpha.value` belongs to `ted.mse_alpha`."""
    return name == parameter or name.startswith(f"{parameter}.")


def table(sweep: Sweep) -> list[str]:
    """Markdown, a row per run by value; the best one by the selection split is marked."""
    selection, reported = sweep.selection, sweep.reported
    titles = [*sweep.parameters, selection, reported, "seeds", "experiment", ""]
    lines = ["| " + " | ".join(titles) + " |", "|" + "---:|" * (len(sweep.parameters) + 2) + "---|---|---|"]
    for point in sweep.ordered():
        seeds = ", ".join(map(str, point.scores.get("seeds", []))) or "–"
        cells = [*map(shown, point.values), _score(point, selection), _score(point, reported), seeds, point.name]
        lines.append("| " + " | ".join([*cells, "best" if point is sweep.best else ""]) + " |")
    return lines


def write_csv(sweep: Sweep, path: Path) -> None:
    """The same for plots: `experiment`, `value` (of several parameters their names), `model`, `seeds`, then the scores.

    `score` repeats the reported score by which runs are compared, and `selection_score` the same score on the selection
    split, so that plots of every task find them.
    """
    columns = ["value"] if len(sweep.parameters) == 1 else list(sweep.parameters)
    known = dict.fromkeys(key for point in sweep.points for key in point.scores if key != "seeds")
    scores = [name for name in known if all(_is_number(point.scores.get(name)) for point in sweep.points)]
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for point in sweep.ordered():
        seeds = " ".join(map(str, point.scores.get("seeds", [])))
        numbers = [point.scores.get(name) for name in (sweep.reported, sweep.selection, *scores)]
        rows.append([point.name, *map(shown, point.values), sweep.model, seeds, *numbers])
    titles = ["experiment", *columns, "model", "seeds", "score", "selection_score", *scores]
    csv_files.write_rows(titles, rows, path)


def shown(value: Any) -> str:
    """A value on one line: texts as they are, all others as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _score(point: Point, name: str) -> str:
    spread = point.scores.get(f"{name}_std")
    value = point.scores.get(name)
    return "" if value is None else f"{value:.2f}" + ("" if spread is None else f" ± {spread:.2f}")


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _rank(value: Any) -> tuple[int, float, str]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (0, float(value), "") if number else (1, 0.0, shown(value))
