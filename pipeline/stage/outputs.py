"""The outputs of teachers, as the stages that teach by them and score them get them: from files, models and members."""

from __future__ import annotations

from pathlib import Path

from distill.config.params import Params
from distill.data.loading.prepared import Prepared
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
    unopened = [split for split in params.data.splits() if split not in data.meta["splits"]]
    stored = Stored.read(path, data, task, unopened)
    stage.read(path, ", ".join(f"{split} {known:,} of {size:,}" for split, (known, size) in stored.coverage.items()))
    for line in stored.lines:
        stage.say("found", line)
    return stored


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
    for name, weight in params.ensemble.weight_of_each().items():
        folder = paths.MEMBERS / name
        caches[name] = Cache.open(folder / LOGITS, identity, f"predict_member@{name}")
        stage.read(folder, f"weight {weight:g}")
    return caches
