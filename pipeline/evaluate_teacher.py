"""Stage evaluate_teacher: score the teacher on the validation split. `python -m pipeline evaluate_teacher`

Whatever its source: a model, stored outputs, or an ensemble.
"""

from __future__ import annotations

from collections.abc import Mapping

from distill.config.params import Params
from distill.data.loading.prepared import Prepared
from distill.signals.ensemble import of_splits
from distill.tasks import extra_metrics
from distill.tasks.base import Report, Task
from pipeline.evaluate import of_checkpoint, report_of, write
from pipeline.launch.run import run_stage
from pipeline.stage import outputs, paths
from pipeline.stage.definition import define
from pipeline.stage.inputs import open_data
from pipeline.stage.stage import Stage


def main() -> None:
    """As `pipeline.evaluate`; stored outputs that do not cover the scored splits have no score."""
    params, folder = paths.params(), paths.model("teacher")
    with Stage(define("evaluate_teacher"), params, tags={"method": "finetune", "role": "teacher"}) as stage:
        data, task = open_data(params, reported=True)
        extra = extra_metrics.load(params.evaluate.extra)
        if params.teacher.source == "model":
            report = of_checkpoint(stage, folder, data.read_by("teacher"), task, params, extra)
        elif params.teacher.source == "predictions":
            report = of_files(stage, data, task, params, extra)
        else:
            outputs.members(stage, params, data)
            report = of_members(stage, params.ensemble.weight_of_each(), data, task, params, extra)
        write(stage, report, "teacher", folder, params, data, task)


def of_files(
    stage: Stage, data: Prepared, task: Task, params: Params, extra: Mapping[str, extra_metrics.Compute]
) -> Report:
    """The report of stored outputs; an empty one where they do not cover every split that is scored."""
    stored = outputs.read_stored(stage, params, data, task)
    if lacking := stored.uncovered():
        counts = ", ".join(f"{count:,} {split} rows" for split, count in lacking.items())
        return without_scores(stage, f"the teacher has no score: its outputs lack {counts}")
    return report_of({part: stored.predicted(part) for part in data.scored_splits}, task, params, extra)


def of_members(
    stage: Stage,
    weights: Mapping[str, float],
    data: Prepared,
    task: Task,
    params: Params,
    extra: Mapping[str, extra_metrics.Compute],
) -> Report:
    """The report of members of an ensemble, as one: the mean of their probabilities.

    Args:
        weights: by member; one that cannot be scored leaves all without scores.
    """
    members = {name: outputs.scored(name, data, task) for name in weights}
    if lacking := [name for name, splits in members.items() if not splits]:
        return without_scores(stage, f"no score: the outputs of {', '.join(lacking)} lack rows of the scored splits")
    splits = {
        part: of_splits([splits[part] for splits in members.values()], list(weights.values()), task)
        for part in data.scored_splits
    }
    return report_of(splits, task, params, extra)


def without_scores(stage: Stage, why: str) -> Report:
    """An empty report, which the stage explains."""
    stage.say("unscored", why)
    return Report({}, {".json": {}, ".null_odds.json": {}}, {"id": []}, {})


if __name__ == "__main__":
    run_stage(main)
