"""Which student is registered in MLflow as the champion, and why: at the end of stage summarize.

It is chosen by the score on the selection split, among the methods with the verdict "better" than the baseline, which a
single seed never gets. Where there is none, nothing is registered. Where methods were confirmed on fresh seeds, only
that verdict and those students count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distill.analysis.champion import winner
from distill.config.params import Params
from distill.tracking.records import Champion
from pipeline.process.hashes import dvc_md5
from pipeline.stage import paths
from pipeline.stage.stage import Stage
from pipeline.summary import spent


def register(
    stage: Stage,
    params: Params,
    metric: str,
    table: Mapping[str, Mapping[str, Any]],
    runs: Mapping[str, Mapping[int | None, Mapping[str, float]]],
) -> None:
    """Print the champion, tag the run with it, and register it under `tracking.registered_model`."""
    baseline = params.compare.baseline
    best = winner(table, runs, metric, baseline)
    if best is None:
        stage.say("champion", f"none: no method is surely better than {baseline}; nothing is registered")
        stage.run.tag("champion", "none")
        return
    label, folder = paths.label(best.method, best.seed), paths.distilled(best.method, best.seed)
    stage.say("champion", f"{label}: {metric} {best.score:.2f} on the selection split, mean over seeds")
    stage.run.tag("champion", label)
    facts = spent.record(f"evaluate@{label}") or {}
    if params.tracking.registered_model is None or "artifact_md5" not in facts:
        return
    row = table[best.method]
    difference = ", ".join(
        f"{row[name]:+.2f}"
        for name in (f"{metric}_vs_{baseline}_low", f"{metric}_vs_{baseline}_high")
        if row.get(name) is not None
    )
    data = dvc_md5(paths.PREPARED / "selection" / "examples.arrow")
    stage.run.register(
        Champion(
            name=params.tracking.registered_model,
            path=folder.as_posix(),
            md5=facts["artifact_md5"],
            score=best.score,
            judged_on=f"{params.task} {metric} selection {data}",
            tags={"method": best.method, "seed": best.seed, "task": params.task, metric: row[metric]},
            description=(
                f"`{best.method}`, seed {best.seed}: {metric} {row[metric]:.2f} on the validation split, mean over"
                f" {len(row['seeds'])} seeds; difference to `{baseline}` within {difference}. DVC keeps the model:"
                f" `{folder.as_posix()}`, md5 in the tags."
            ),
            run_id=facts.get("run_id"),
        )
    )
