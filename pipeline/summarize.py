"""Stage summarize: one table of teacher, student and methods, means over seeds. `python -m pipeline.summarize`"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from distill import config, registry, summary
from distill.errors import UserError
from pipeline import common
from pipeline.stage import RUNS, Stage, run_stage


def main() -> None:
    """Methods and seeds come from params.yaml, never from the files that happen to lie there."""
    params = common.params()
    runs = common.METRICS / "runs"
    json_file, csv_file = common.METRICS / "summary.json", common.METRICS / "summary.csv"
    with Stage(
        "summarize",
        params=config.pick(params, ["task", "evaluate.metric", "methods", "seeds"]),
        inputs=[runs],
        outputs=[json_file, csv_file],
        experiment=params.tracking.experiment,
        tags={"pipeline": "summary"},
    ) as stage:
        task = registry.load_task(params.task, params.evaluate.metric)
        # The main scores; metrics/runs/ has all of them. On the selection split one tunes, without looking at the rest.
        scores = (*task.shown, f"selection_{task.main_metric}")
        found = {role: {None: _read(runs / f"{role}.json", scores)} for role in ("teacher", "student")}
        for method in params.method_names:
            found[method] = {seed: _read(runs / f"{method}-{seed}.json", scores) for seed in params.seeds}
        table = summary.summarize(found)
        stage.write_json(json_file, table)
        summary.write_csv(table, task.main_metric, stage.scratch / "summary.csv")
        stage.publish(stage.scratch / "summary.csv", csv_file)
        stage.figures({name: {k: row[k] for k in task.shown if k in row} for name, row in table.items()})
        for name, row in table.items():
            stage.run.log_final({f"{name}.{k}": v for k, v in row.items() if isinstance(v, float)})
        for record in sorted(RUNS.glob("*.json")):
            if run_id := json.loads(record.read_text()).get("run_id"):
                stage.run.tag(f"run.{record.stem}", run_id)
        stage.run.artifact(json_file)
        if warning := summary.weaker_teacher(table, task.main_metric):
            print(f"\n  WARNING: {warning}\n", flush=True)


def _read(path: Path, scores: Sequence[str]) -> dict[str, float]:
    if not path.exists():
        raise UserError(f"{path}: missing: run `dvc repro`, which evaluates every method and seed of params.yaml")
    found = json.loads(path.read_text())
    return {name: found[name] for name in scores if name in found}


if __name__ == "__main__":
    run_stage(main)
