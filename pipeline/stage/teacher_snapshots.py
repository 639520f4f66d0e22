"""Checkpoints of the teacher's own training, which students learn from one by one (teacher.snapshots).

`data/models/snapshots/<n>` is a plain checkpoint; `data/snapshots/<n>` has its logits over the training features, where
a listed name learns from them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distill.models import loading
from distill.training import snapshots
from distill.training.run import Result, TrainingRun
from distill.training.weights import load_weights
from pipeline.stage import artifacts, paths
from pipeline.stage.stage import Stage

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def publish(
    stage: Stage, run: TrainingRun, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, result: Result
) -> None:
    """Write the snapshots of a finished training as checkpoints, and their scores on the selection split.

    The model has the weights of the last one afterwards.

    Args:
        run: the training, whose objective holds the model.
        result: its result; the scores of what it has kept stand beside those of the snapshots.
    """
    built = stage.fresh("snapshots-built")
    scores: dict[str, dict[str, Any]] = {}
    for step, number in snapshots.steps(run.snapshots, result.steps).items():
        load_weights(run.objective, snapshots.file(run.folder, number))
        loading.save(model, tokenizer, built / str(number))
        scores[str(number)] = {"update": step, **run.evaluate()}
    stage.publish(built, paths.SNAPSHOTS)
    stage.write_json(paths.SNAPSHOT_SCORES, scores | {"teacher": {"update": result.steps, **result.scores}})


def leave_out(stage: Stage) -> None:
    """Write the outputs where no snapshot is kept: a folder with a note, and no scores."""
    artifacts.leave_note(stage, artifacts.SNAPSHOTS, paths.SNAPSHOTS)
    stage.write_json(paths.SNAPSHOT_SCORES, {})
