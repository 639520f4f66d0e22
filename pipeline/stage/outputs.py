"""The outputs of teachers, as the stages that teach by them and score them get them: from files, models and members."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel

from distill.config.params import Params
from distill.data.loading.prepared import Prepared
from distill.models import acceleration
from distill.models.forward import default_device
from distill.models.predict import forward_of, predict_split
from distill.signals import ensemble
from distill.signals.cache import Cache
from distill.signals.stored import Stored
from distill.tasks.base import Predicted, Task
from pipeline.stage import paths
from pipeline.stage.stage import Stage

#: Folders of a member's outputs, below `paths.MEMBERS / name`: for students to learn from, and of the scored splits.
LOGITS, SCORED = "logits", "scored"


def read_stored(stage: Stage, params: Params, data: Prepared, task: Task) -> Stored:
    """`Stored.read` of teacher.predictions; the stage says what was read.

    Raises:
        UserError: the files cannot be read, or do not fit the data.
    """
    path = Path(params.teacher.predictions)
    stored = Stored.read(path, data, task)
    stage.read(path, ", ".join(f"{split} {known:,} of {size:,}" for split, (known, size) in stored.coverage.items()))
    for line in stored.lines:
        stage.say("found", line)
    return stored


def of_split(model: PreTrainedModel, data: Prepared, task: Task, params: Params, split: str) -> Predicted:
    """A model's logits over a split that is scored.

    Args:
        data: the data in the model's tokens (`Prepared.read_by`).
    """
    section = params.evaluate
    with acceleration.attention(model, params.runtime, int(data.ragged(split).lengths.max())):
        return predict_split(
            forward_of(model, task),
            data,
            split,
            section.batch_size,
            default_device(),
            section.precision,
            split,
            task.per_token,
        )


def scored(name: str, data: Prepared, task: Task) -> dict[str, Predicted]:
    """A member's outputs over the splits that are scored, by split; empty where its files lack some rows of them."""
    return ensemble.read_scored(paths.MEMBERS / name / SCORED, data, task)


def members(stage: Stage, params: Params, data: Prepared) -> dict[str, Cache]:
    """The caches of the ensemble's members.

    Raises:
        UserError: one is missing, damaged or of other data.
    """
    identity = {"data": data.trained_on(), "tokenizer": data.meta["tokenizer"]["fingerprint"]}
    caches = {}
    for name in params.ensemble.members:
        folder = paths.MEMBERS / name
        caches[name] = Cache.open(folder / LOGITS, identity, f"predict_member@{name}")
        stage.read(folder, f"weight {params.ensemble.weights.get(name, 1.0):g}")
    return caches


def weights(params: Params) -> dict[str, float]:
    """The weight of each member of the ensemble."""
    return {name: params.ensemble.weights.get(name, 1.0) for name in params.ensemble.members}
