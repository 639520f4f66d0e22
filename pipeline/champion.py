"""Which student is registered in MLflow as the champion, and why: at the end of stage summarize.

It is chosen by the score on the selection split, among the methods that are surely better than `ft` (verdict "better",
which a single seed never gets). Where there is none, nothing is registered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from distill.analysis import breakdown, significance
from distill.config.params import Params
from distill.parameters import group_of
from distill.tracking.records import Champion
from pipeline.stage import paths
from pipeline.stage.stage import Stage, record_file


class Winner(NamedTuple):
    """A student: its method, the mean selection score of the method's seeds, and the best of them."""

    method: str
    seed: int
    score: float


def winner(
    table: Mapping[str, Mapping[str, Any]], runs: Mapping[str, Mapping[int | None, Mapping[str, float]]], metric: str
) -> Winner | None:
    """The method with the best mean selection score of those that are better than ft, and its best seed on that split.

    Args:
        table: metrics/summary.json: model → scores and `verdict`.
        runs: model → seed → scores.
        metric: the task's main one.
    """
    name = f"selection_{metric}"
    sure = [model for model, row in table.items() if row.get("verdict") == significance.BETTER]
    method = breakdown.best_method(table, sure, metric)
    if method is None:
        return None
    seeds = {seed: scores[name] for seed, scores in runs[method].items()}
    return Winner(method, max(seeds, key=seeds.__getitem__), table[method][name])


def register(
    stage: Stage,
    params: Params,
    metric: str,
    table: Mapping[str, Mapping[str, Any]],
    runs: Mapping[str, Mapping[int | None, Mapping[str, float]]],
) -> None:
    """Say who has won, on the terminal and in the run, and register it under `tracking.registered_model`."""
    best = winner(table, runs, metric)
    if best is None:
        stage.say("champion", "none: no method is surely better than ft; nothing is registered")
        stage.run.tag("champion", "none")
        return
    label, folder = f"{best.method}-{best.seed}", paths.distilled(best.method, best.seed)
    stage.say("champion", f"{label}: {metric} {best.score:.2f} on the selection split, mean over seeds")
    stage.run.tag("champion", label)
    if params.tracking.registered_model is None or not folder.is_dir():
        return
    row = table[best.method]
    difference = ", ".join(
        f"{row[name]:+.2f}" for name in (f"{metric}_vs_ft_low", f"{metric}_vs_ft_high") if row.get(name) is not None
    )
    record = record_file(f"evaluate_{group_of(params, best.method)}@{label}")
    data = paths.dvc_md5(paths.PREPARED / "selection" / "examples.arrow")
    stage.run.register(
        Champion(
            name=params.tracking.registered_model,
            path=folder.as_posix(),
            md5=paths.dvc_md5(folder),
            score=best.score,
            judged_on=f"{params.task} {metric} selection {data}",
            tags={"method": best.method, "seed": best.seed, "task": params.task, metric: row[metric]},
            description=(
                f"`{best.method}`, seed {best.seed}: {metric} {row[metric]:.2f} on the validation split, mean over"
                f" {len(row['seeds'])} seeds; difference to `ft` within {difference}. DVC keeps the model:"
                f" `{folder.as_posix()}`, md5 in the tags."
            ),
            run_id=json.loads(record.read_text()).get("run_id") if record.is_file() else None,
        )
    )
