"""A model's logits over the training features, written into a cache: what later trainings learn from."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from distill import checkpoints, models
from distill.cache import LogitWriter
from distill.data.prepared import Prepared
from distill.evaluation import forward_of, layout, predict
from distill.sections import Predict
from distill.tasks.base import Task

# What a killed run loses at most.
_SECONDS = 10


@dataclass
class Written:
    """What was written: rows, entries (rows of logits), and the speed of this process's part."""

    rows: int
    entries: int
    rows_per_second: float


def write_logits(
    folder: Path,
    model: nn.Module,
    weights: Path,
    data: Prepared,
    task: Task,
    settings: Predict,
    label: str,
    features: Any = None,
) -> Written:
    """Fill a cache (`distill.cache`) batch by batch, in constant memory; go on where a killed run had come to.

    Args:
        folder: where the files grow; complete once this returns.
        model: runs frozen, on the GPU if there is one.
        weights: the model's file, whose hash the cache keeps.
        label: of the progress bar.
        features: what is predicted, where it is not the training features but rows that belong to them.
    """
    model = models.freeze(model).to(models.device())
    features = data.features("train") if features is None else features
    offsets = layout(features, task.per_token)
    writer = LogitWriter(folder, offsets, task.channels)
    began, marked, first = time.monotonic(), time.monotonic(), writer.done
    batches = predict(
        forward_of(model, task),
        features,
        data.tokenizer().pad_token_id,
        settings.batch_size,
        models.device(),
        settings.precision,
        label,
        start=writer.done,
    )
    for done, rows, logits in batches:
        writer.write(rows, logits if task.per_token else logits[:, None])
        if time.monotonic() - marked > _SECONDS:
            writer.mark(done)
            marked = time.monotonic()
    seconds = time.monotonic() - began
    writer.finish(
        {
            "task": task.name,
            "data": data.trained_on(),
            "tokenizer": data.meta["tokenizer"]["fingerprint"],
            "teacher": checkpoints.tree_hash(weights),
            "rows": len(features),
            "entries": int(offsets[-1]),
            "dtype": "float32",
        }
    )
    left = len(features) - first * settings.batch_size
    return Written(len(features), int(offsets[-1]), left / seconds if seconds else 0.0)
