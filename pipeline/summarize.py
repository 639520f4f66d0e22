"""Stage summarize: scores of all models, which method is better, where, at what cost. `python -m pipeline.summarize`"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from distill.analysis import (
    answer_scores,
    breakdown,
    class_scores,
    constant,
    disagreements,
    entity_scores,
    example_groups,
    example_table,
    label_sets,
    queries,
    score_intervals,
    significance,
    slices,
    summary,
)
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
from pipeline.summary import champion, contents, controls, members, reporting, runs, snapshots, spent

if TYPE_CHECKING:
    import pandas as pd

SUMMARY, CSV = paths.METRICS / "summary.json", paths.METRICS / "summary.csv"
ANALYSIS, TRAINING = paths.METRICS / "analysis.json", paths.METRICS / "training.json"
CONFIRM = paths.METRICS / "confirm.json"
#: Model → seed → scores of metrics/runs.
Scores = dict[str, dict[int | None, dict[str, float]]]


def main() -> None:
    """Methods and seeds come from params.yaml, never from the files in metrics/."""
    params = paths.params()
    with Stage(define("summarize"), params, tags={"pipeline": "summary"}) as stage:
        data, task = open_data(params, reported=True)
        labels = runs.once() | runs.compared(params)
        tables = runs.read_tables(labels, task)
        scores = read_scores(labels, tables, task)
        # The main scores; metrics/runs/ has all. The selection score is there to tune by, without the validation split.
        extra = extra_metrics.names_of(
            (run for seeds in scores.values() for run in seeds.values()), params.evaluate.extra
        )
        shown = (*task.shown, *params.data.extra_scores(task.main_metric), *extra, f"selection_{task.main_metric}")
        table = summarized(scores, tables, shown, task, data, params)
        confirmed = confirm(scores, shown, task, data, params)
        analysis, disagreeing = analyse(table, tables, scores, task, data, params)
        training = spent.training_costs(params)
        files = {SUMMARY: table, ANALYSIS: analysis, TRAINING: training, reporting.DISAGREEMENTS: disagreeing}
        files[CONFIRM] = confirmed.table
        for path, content in files.items():
            stage.write_json(path, content)
        summary.write_csv(table, task.main_metric, stage.scratch / "summary.csv")
        stage.publish(stage.scratch / "summary.csv", CSV)
        reporting.write(stage, params, table, analysis, training, disagreeing, confirmed.table)
        stage.figures({name: {k: row[k] for k in shown[:-1] if k in row} for name, row in table.items()})
        for name, row in table.items():
            stage.run.log_final({f"{name}.{k}": v for k, v in row.items() if isinstance(v, float)})
        for name, record in spent.records(params).items():
            if record.get("run_id"):
                stage.run.tag(f"run.{record_file(name).stem}", record["run_id"])
        # A method that was put to the test on fresh seeds counts by that test alone.
        judged = (confirmed.table, confirmed.scores) if confirmed.table else (table, scores)
        champion.register(stage, params, task.main_metric, *judged)
        if warning := summary.weaker_teacher(table, task.main_metric):
            print(f"\n  WARNING: {warning}\n", flush=True)


def read_scores(labels: runs.Labels, tables: runs.Tables, task: Task) -> Scores:
    """The scores of all runs, with those that the summary cannot do without."""
    needed = [task.main_metric, f"selection_{task.main_metric}"]
    if any("confidence" in table for seeds in tables.values() for table in seeds.values()):
        needed += ["ece", "ece_calibrated", "temperature"]
    return {
        name: {
            seed: contents.scores(paths.METRICS / "runs" / f"{label}.json", *needed) for seed, label in seeds.items()
        }
        for name, seeds in labels.items()
    }


def summarized(
    scores: Scores, tables: runs.Tables, shown: Sequence[str], task: Task, data: Prepared, params: Params
) -> dict[str, dict[str, Any]]:
    """Means of the shown scores, and every method against each of the baselines."""
    table = summary.summarize(
        {
            name: {seed: {key: run[key] for key in shown if key in run} for seed, run in seeds.items()}
            for name, seeds in scores.items()
        }
    )
    methods = [name for name in tables if name not in runs.once()]
    baselines = runs.baselines(params, methods)
    if baselines:
        teacher = ["teacher"] if "teacher" in tables else []
        scored = runs.scored(tables, [*teacher, *methods], task, data, params)
        for baseline in baselines:
            further = baseline != params.compare.baseline
            comparison = significance.compare(scored, methods, baseline, None if further or not teacher else "teacher")
            summary.add_comparison(table, comparison, task.main_metric, further)
        if teacher:
            to_teacher = {name: scored.to_single(name, "teacher") for name in methods}
            summary.add_teacher(table, to_teacher, task.main_metric)
    return table


class Confirmed(NamedTuple):
    """What fresh seeds say: rows as in the summary, and the runs' scores; both empty where nothing is confirmed."""

    table: dict[str, dict[str, Any]]
    scores: Scores


def confirm(scores: Scores, shown: Sequence[str], task: Task, data: Prepared, params: Params) -> Confirmed:
    """The methods of section `confirm` on its seeds, and on no other: those by which they were picked do not count."""
    labels = runs.confirming(params)
    if not labels:
        return Confirmed({}, {})
    fresh = runs.read_tables(runs.once() | labels, task)
    teacher = {name: seeds for name, seeds in scores.items() if name == "teacher"}
    runs_scores = teacher | read_scores(labels, fresh, task)
    del fresh["student"]
    table = summarized(runs_scores, fresh, shown, task, data, params)
    return Confirmed(table, runs_scores)


def analyse(
    table: dict[str, dict[str, Any]],
    tables: breakdown.Tables,
    scores: dict[str, dict[int | None, dict[str, float]]],
    task: Task,
    data: Prepared,
    params: Params,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The contents of metrics/analysis.json and data/disagreements.json."""
    rows, labels = queries.by_query(data.examples("validation")), runs.once() | runs.compared(params)
    answers = {
        name: {seed: _answers(labels[name][seed], examples) for seed, examples in seeds.items()}
        for name, seeds in tables.items()
    }
    baseline = params.compare.baseline
    best = breakdown.best_method(table, params.methods, task.main_metric, baseline)
    models = [name for name in ("teacher", baseline, best) if name in ("teacher", *params.methods) and name in tables]
    models = models or ["student"]
    first_tables, first_answers = (
        {name: next(iter(part[name].values())) for name in models} for part in (tables, answers)
    )
    groups = example_groups.of(task.name, rows)
    calibrated = {
        name: row | answer_scores.of(tables[name], params.compare, groups)
        for name, row in breakdown.calibrated(tables, scores).items()
    }
    counts, chosen = disagreements.find(first_tables, best, baseline)
    analysis = {
        "slices": breakdown.by_slice(
            tables, slices.of(task.name, rows, data.meta), task.main_metric, params.compare.confidence
        ),
        "intervals": score_intervals.of(tables, task.main_metric, data.meta.get("labels", ()), params.compare, groups),
        "calibration": calibrated,
        "oracle": breakdown.oracle(scores),
        "agreement": breakdown.agreement(answers, squad.normalize if task.name == "qa" else str),
        "disagreements": {"models": models, "counts": counts},
        "overlap": data.meta.get("overlap", {}),
        "controls": controls.compared(
            params,
            task.main_metric,
            tables | controls.tables_of(params, task, tables),
            controls.updates_of(params),
            data.meta.get("labels", ()),
            groups,
        ),
    }
    analysis["rows"] = {split: counts["examples"] for split, counts in data.meta["splits"].items()}
    if kept := snapshots.rows(params, task, table):
        analysis["snapshots"] = kept
    alike = constant.models(answers)
    if label_sets.are(next(iter(first_tables.values()))):
        alike = {name: label_sets.shown(answer) for name, answer in alike.items()}
    analysis["constant"] = {
        "models": alike,
        "commonest": constant.commonest(task.name, rows, data.meta.get("labels", ())),
    }
    if task.logits_of == "relevance":
        analysis["queries"] = queries.hardest(tables, rows, task.main_metric)
    if params.ensemble.members:
        analysis["ensemble"] = members.rows(params, task)
    if "scheme" in data.meta:
        analysis["entities"] = _entities(labels, tables, rows, data.meta)
    elif data.meta.get("labels"):
        analysis["classes"] = class_scores.of(tables, scores, data.meta)
    examples = disagreements.describe(chosen, rows, first_tables, first_answers)
    return analysis, {"models": models, "examples": examples}


def _entities(labels: runs.Labels, tables: runs.Tables, rows: Any, meta: dict[str, Any]) -> dict[str, Any]:
    """The scores of types of entities, from the tags of the prediction files."""

    def tags(label: str, table: pd.DataFrame) -> list[list[str]]:
        found = _said(label, table)
        return [found[key]["tags"] for key in table.index]

    said = {
        name: {seed: tags(labels[name][seed], table) for seed, table in seeds.items()} for name, seeds in tables.items()
    }
    gold = [[meta["labels"][tag] for tag in tags] for tags in rows["tags"]]
    return entity_scores.of(gold, said, meta["scheme"])


def _answers(label: str, table: pd.DataFrame) -> list[Any]:
    """A model's answer to each example: a text, the name of a class, or a number."""
    if "predicted" in table:
        return table["predicted"].tolist()
    texts = _said(label, table, contents.ANSWERS)
    return [texts[key] for key in table.index]


def _said(label: str, table: pd.DataFrame, kind: Any = contents.TAGS) -> dict[str, Any]:
    """The content of a prediction file, which says something about every example."""
    path = runs.PREDICTIONS / f"{label}.json"
    found = json_files.read(path, example_table.FIX, kind)
    if missing := [key for key in table.index if key not in found]:
        raise UserError(f"{path}: has no answer to {missing[0]!r}: {example_table.FIX}")
    return found


if __name__ == "__main__":
    run_stage(main)
