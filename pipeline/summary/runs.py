"""The runs that a comparison reads: their files, tables of examples, and scores on resamples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from distill.analysis import bootstrap, example_groups, example_table
from distill.analysis.significance import Scored
from distill.config.params import Params
from distill.data.loading.prepared import Prepared
from distill.tasks.base import Task
from pipeline.stage import paths
from pipeline.summary import contents

PREDICTIONS = Path("data/predictions")
#: Model → seed → label in the names of its files.
Labels = dict[str, dict[int | None, str]]
#: Model → seed → table of examples.
Tables = dict[str, dict[int | None, pd.DataFrame]]


def once() -> Labels:
    """Teacher and student, which are trained once: their seed is None; without a teacher that has no score.

    Stored predictions that do not cover the scored splits have none: stage evaluate_teacher writes `{}`.
    """
    return {role: {None: role} for role in ("teacher", "student") if role == "student" or _is_scored(role)}


def _is_scored(label: str) -> bool:
    path = paths.METRICS / "runs" / f"{label}.json"
    return not path.is_file() or contents.read(path) != {}


def compared(params: Params) -> Labels:
    """The methods of the summary with their seeds."""
    return {name: {seed: paths.label(name, seed) for seed in params.seeds_of(name)} for name in params.methods}


def confirming(params: Params) -> Labels:
    """The methods that are confirmed, with their fresh seeds."""
    return {name: {seed: paths.label(name, seed) for seed in params.confirm.seeds} for name in params.confirm.methods}


def read_tables(labels: Labels, task: Task) -> Tables:
    """The tables of examples of all models, which have the same rows."""
    numbers = not task.has_classes
    files = {label: PREDICTIONS / f"{label}.examples.csv" for seeds in labels.values() for label in seeds.values()}
    tables = {label: example_table.read(path, numbers) for label, path in files.items()}
    example_table.check_same({str(files[label]): table for label, table in tables.items()})
    return {name: {seed: tables[label] for seed, label in seeds.items()} for name, seeds in labels.items()}


def scored(tables: Tables, names: Sequence[str], task: Task, data: Prepared, params: Params) -> Scored:
    """The scores of models on resamples of the validation split."""
    runs = [(name, seed) for name in names for seed in tables[name]]
    classes = data.meta.get("labels", ())
    score = bootstrap.score_of(task.main_metric, [tables[name][seed] for name, seed in runs], classes)
    return Scored(score, runs, params.compare, example_groups.of(task.name, data.examples("validation")))


def baselines(params: Params, names: Sequence[str]) -> list[str]:
    """The baselines of the tables of `names`: those that are among them, `compare.baseline` first."""
    wanted = dict.fromkeys([params.compare.baseline, *params.compare.also])
    return [name for name in wanted if name in names] if params.compare.baseline in names else []
