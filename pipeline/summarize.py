"""Stage summarize: scores of all models, which method is better, where, at what cost. `python -m pipeline.summarize`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from distill.analysis import bootstrap, breakdown, disagreements, example_table, significance, slices, summary
from distill.config.params import Params
from distill.data.loading.prepared import Prepared
from distill.errors import UserError
from distill.runtime import json_files
from distill.tasks import extra_metrics, squad
from distill.tasks.base import Task
from pipeline.launch.run import run_stage
from pipeline.process.records import record_file
from pipeline.stage import paths
from pipeline.stage.definition import define
from pipeline.stage.inputs import open_data
from pipeline.stage.stage import Stage
from pipeline.summary import champion, contents, controls, reporting, spent

PREDICTIONS = Path("data/predictions")
SUMMARY, CSV = paths.METRICS / "summary.json", paths.METRICS / "summary.csv"
ANALYSIS, TRAINING = paths.METRICS / "analysis.json", paths.METRICS / "training.json"


def main() -> None:
    """Methods and seeds come from params.yaml, never from the files in metrics/."""
    params = paths.params()
    with Stage(define("summarize"), params, tags={"pipeline": "summary"}) as stage:
        data, task = open_data(params)
        labels = runs_of(params)
        tables = read_tables(labels, task)
        needed = [task.main_metric, f"selection_{task.main_metric}"]
        if any("confidence" in table for seeds in tables.values() for table in seeds.values()):
            needed += ["ece", "ece_calibrated", "temperature"]
        scores = {
            name: {
                seed: contents.scores(paths.METRICS / "runs" / f"{label}.json", *needed)
                for seed, label in seeds.items()
            }
            for name, seeds in labels.items()
        }
        # The main scores; metrics/runs/ has all. The selection score is there to tune by, without the validation split.
        extra = extra_metrics.names_of(
            (run for seeds in scores.values() for run in seeds.values()), params.evaluate.extra
        )
        shown = (*task.shown, *params.data.extra_scores(task.main_metric), *extra, f"selection_{task.main_metric}")
        table = summary.summarize(
            {
                name: {seed: {key: run[key] for key in shown if key in run} for seed, run in seeds.items()}
                for name, seeds in scores.items()
            }
        )
        if "ft" in params.methods:
            add_comparison(table, tables, task, data, params)
        analysis, disagreeing = analyse(table, tables, scores, task, data, params)
        training = spent.training_costs(params)
        files = {SUMMARY: table, ANALYSIS: analysis, TRAINING: training, reporting.DISAGREEMENTS: disagreeing}
        for path, content in files.items():
            stage.write_json(path, content)
        summary.write_csv(table, task.main_metric, stage.scratch / "summary.csv")
        stage.publish(stage.scratch / "summary.csv", CSV)
        reporting.write(stage, params, table, analysis, training, disagreeing)
        stage.figures({name: {k: row[k] for k in shown[:-1] if k in row} for name, row in table.items()})
        for name, row in table.items():
            stage.run.log_final({f"{name}.{k}": v for k, v in row.items() if isinstance(v, float)})
        for name, record in spent.records(params).items():
            if record.get("run_id"):
                stage.run.tag(f"run.{record_file(name).stem}", record["run_id"])
        champion.register(stage, params, task.main_metric, table, scores)
        if warning := summary.weaker_teacher(table, task.main_metric):
            print(f"\n  WARNING: {warning}\n", flush=True)


def runs_of(params: Params) -> dict[str, dict[int | None, str]]:
    """Model → seed → label in file names; the seed of teacher and student, which are trained once, is None."""
    once: dict[str, dict[int | None, str]] = {role: {None: role} for role in ("teacher", "student")}
    return once | {method: {seed: f"{method}-{seed}" for seed in params.seeds} for method in params.methods}


def read_tables(labels: dict[str, dict[int | None, str]], task: Task) -> dict[str, dict[int | None, pd.DataFrame]]:
    """The tables of examples of all models, which have the same rows."""
    numbers = not task.has_classes
    files = {label: PREDICTIONS / f"{label}.examples.csv" for seeds in labels.values() for label in seeds.values()}
    tables = {label: example_table.read(path, numbers) for label, path in files.items()}
    example_table.check_same({str(files[label]): table for label, table in tables.items()})
    return {name: {seed: tables[label] for seed, label in seeds.items()} for name, seeds in labels.items()}


def add_comparison(
    table: dict[str, dict[str, Any]], tables: breakdown.Tables, task: Task, data: Prepared, params: Params
) -> None:
    """Put the differences to ft, their intervals and the verdicts into the summary."""
    runs = [(name, seed) for name in params.methods for seed in params.seeds]
    classes = data.meta.get("labels", ())
    score = bootstrap.score_of(task.main_metric, [tables[name][seed] for name, seed in runs], classes)
    differences = significance.differences(score, runs, "ft", params.compare)
    verdicts = significance.verdicts(differences, params.compare.confidence)
    summary.add_comparison(table, differences, verdicts, task.main_metric)


def analyse(
    table: dict[str, dict[str, Any]],
    tables: breakdown.Tables,
    scores: dict[str, dict[int | None, dict[str, float]]],
    task: Task,
    data: Prepared,
    params: Params,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The contents of metrics/analysis.json and data/disagreements.json."""
    rows, labels = data.examples("validation"), runs_of(params)
    answers = {
        name: {seed: _answers(labels[name][seed], examples) for seed, examples in seeds.items()}
        for name, seeds in tables.items()
    }
    best = breakdown.best_method(table, params.methods, task.main_metric)
    models = ["teacher", *(name for name in ("ft", best) if name in params.methods)]
    first_tables, first_answers = (
        {name: next(iter(part[name].values())) for name in models} for part in (tables, answers)
    )
    counts, chosen = disagreements.find(first_tables, best)
    analysis = {
        "slices": breakdown.by_slice(tables, slices.of(task.name, rows, data.meta), task.main_metric),
        "calibration": breakdown.calibrated(tables, scores),
        "oracle": breakdown.oracle(scores),
        "agreement": breakdown.agreement(answers, squad.normalize if task.name == "qa" else str),
        "disagreements": {"models": models, "counts": counts},
        "overlap": data.meta.get("overlap", {}),
        "controls": controls.compared(params, task, tables, PREDICTIONS, data.meta.get("labels", ())),
    }
    examples = disagreements.describe(chosen, rows, first_tables, first_answers)
    return analysis, {"models": models, "examples": examples}


def _answers(label: str, table: pd.DataFrame) -> list[Any]:
    """A model's answer to each example: a text, the name of a class, or a number."""
    if "predicted" in table:
        return table["predicted"].tolist()
    path = PREDICTIONS / f"{label}.json"
    texts = json_files.read(path, example_table.FIX, contents.ANSWERS)
    if missing := [key for key in table.index if key not in texts]:
        raise UserError(f"{path}: has no answer to {missing[0]!r}: {example_table.FIX}")
    return [texts[key] for key in table.index]


if __name__ == "__main__":
    run_stage(main)
