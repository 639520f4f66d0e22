"""Shared by the training stages: the setup of a training, and the publication of a finished one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from distill.config.params import Params
from distill.config.schema import Training
from distill.data.loading import groups
from distill.data.loading.mixing import Mix
from distill.data.loading.prepared import Prepared
from distill.models.predict import predict_split
from distill.runtime import distributed
from distill.tasks.base import Predicted, Task
from distill.training import phases
from distill.training.objective import Objective
from distill.training.run import Result, TrainingRun, write_curves
from pipeline.process.hashes import dvc_md5
from pipeline.stage.stage import Stage

if TYPE_CHECKING:
    import datasets


def build_run(
    stage: Stage,
    params: Params,
    data: Prepared,
    task: Task,
    section: Training,
    objective: Objective,
    seed: int,
    label: str,
    score: Callable[[Predicted], dict[str, float]] | None = None,
    features: datasets.Dataset | None = None,
    transfer_share: float = 0.0,
    weigh: Callable[[datasets.Dataset], datasets.Dataset] | None = None,
) -> TrainingRun:
    """A training on prepared data in the stage's scratch, with live curves and selection scores.

    Args:
        section: hyper-parameters.
        seed: seed of dropout and of the order of the rows.
        label: label of the progress bar.
        score: function from logits on the selection split to scores; None: the task's.
        features: rows to train on; None: the features of the training split.
        transfer_share: share of each batch that comes from the transfer set, where there is one.
        weigh: adds to the rows, labelled ones first, how much the soft targets of each count.
    """
    features = data.features("train") if features is None else features
    settings, noun = in_units(section, data), "rows" if data.group_size is None else "groups"
    mix = Mix(_units(features, data), transfer_share) if data.has_transfer and transfer_share else None
    if mix and not mix.unlabelled_in(settings.batch_size):
        mix = None
    if mix:
        features = data.with_transfer(features)
        each, units = mix.unlabelled_in(settings.batch_size), _units(features, data) - mix.labelled
        stage.say("mixes", f"{each} of the {settings.batch_size} {noun} of a batch are of the {units:,} without labels")
    if weigh:
        features = weigh(features)

    def scores_of(predicted: Predicted) -> dict[str, float]:
        return task.score(predicted, params.evaluate)

    def evaluate() -> dict[str, float]:
        device = next(objective.parameters()).device
        size = 2 * distributed.share_of(section.batch_size, section.gradient_accumulation)
        predicted = predict_split(
            objective.scored_logits, data, "selection", size, device, section.precision, "selection", task.per_token
        )
        return (score or scores_of)(predicted)

    return TrainingRun(
        objective=objective,
        features=features,
        pad_token_id=data.tokenizer().pad_token_id,
        labels=task.labels,
        settings=settings,
        runtime=params.runtime,
        seed=seed,
        folder=stage.scratch,
        label=label,
        main_metric=task.main_metric,
        evaluate=evaluate,
        on_log=stage.run.log,
        mix=mix,
    )


def in_units(section: Training, data: Prepared) -> Training:
    """The section with a `batch_size` in what batches are made of: rows, or whole groups (`data.loading.groups`).

    Of groups a batch has as many as it has room for at their largest, so that every update is of as many groups.
    """
    if data.group_size is None:
        return section
    return section.model_copy(update={"batch_size": section.batch_size // data.group_size})


def updates(section: Training, data: Prepared) -> int:
    """The number of updates that a section asks for on the data (`phases.updates`)."""
    return phases.updates(in_units(section, data), data.epoch_rows)


def _units(features: datasets.Dataset, data: Prepared) -> int:
    return len(features) if data.group_size is None else len(groups.bounds(features)) - 1


def finish(stage: Stage, result: Result, built: Path, artifact: Path, curves: Path, updates: int | None = None) -> None:
    """Publish the artifact and its curves, link them in the run, record the cost.

    Args:
        built: the finished folder in the scratch.
        artifact: output to publish it as.
        updates: updates of the model, where the trainer also made steps for something else; None: all steps.
    """
    stage.publish(built, artifact)
    draft = stage.scratch / "curves.csv"
    write_curves(result.history, draft)
    stage.publish(draft, curves)
    stage.run.log_final({f"selection_{name}": value for name, value in result.scores.items()})
    stage.run.tag("artifact.path", artifact.as_posix())
    stage.run.tag("artifact.md5", dvc_md5(artifact))
    stage.figures({"padded tokens": f"{result.padding:.1%}"})
    if result.stopped_early:
        stage.say("stopped", f"after {result.steps:,} of {result.planned:,} updates, as patience asks for")
        stage.run.tag("stopped_early", f"{result.steps} of {result.planned}")
        stage.record({"stopped_early": True, "planned_steps": result.planned})
    stage.record(
        {
            "updates": result.steps if updates is None else updates,
            "trainer_steps": result.steps,
            "resumed_from": result.resumed_from,
            "train_seconds": round(result.seconds, 2),
            "scoring_seconds": round(result.scoring_seconds, 2),
            "examples_per_second": round(result.examples_per_second, 2),
            "padding": round(result.padding, 4),
            **_used(result, result.steps if updates is None else updates),
        }
    )


def _used(result: Result, updates: int) -> dict[str, float]:
    """Rows with and without labels that the model has learnt from; passes of both models for each row of an update."""
    if not result.passes.get("rows"):
        return {}
    rows = result.passes["rows"] * updates / result.steps  # without the steps of a generator
    return {
        "labelled_rows": result.passes["labelled"],
        **({"unlabelled_rows": unlabelled} if (unlabelled := result.passes["unlabelled"]) else {}),
        "student_passes": round(result.passes["student"] / rows, 3),
        "teacher_passes": round(result.passes["teacher"] / rows, 3),
    }
