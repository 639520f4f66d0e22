"""A model's outputs over the training features, written into caches for later trainings."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from distill.config.machine import Runtime
from distill.config.schema import Predict
from distill.data.loading.prepared import Prepared
from distill.models import acceleration
from distill.models.forward import default_device, forward_pass, freeze
from distill.models.predict import layout, predict
from distill.runtime import distributed
from distill.runtime.files import tree_hash
from distill.signals import other_tokens
from distill.signals.cache import Array, Writer
from distill.signals.states import array_name, layer_of
from distill.tasks.base import Task

# Time between marks: the most that a killed run loses.
_SECONDS = 10


@dataclass
class Written:
    """Counts of rows and entries (rows of logits) that were written, and the speed of this process's part.

    `moved`: what became of the answers that were moved to other windows; None: they were not.
    """

    rows: int
    entries: int
    rows_per_second: float
    moved: other_tokens.Moved | other_tokens.MovedWords | None = None


def identity(data: Prepared, weights: Path | None) -> dict[str, str]:
    """The content hashes that tie a cache to a run (see `cache.IDENTITY`).

    Args:
        weights: file of the model's weights; None: the outputs are those of no checkpoint, and no hash is given.
    """
    common = {"data": data.trained_on(), "tokenizer": data.meta["tokenizer"]["fingerprint"]}
    return common if weights is None else common | {"teacher": tree_hash(weights)}


def state_arrays(layers: Mapping[str, list[int]], width: int, dtype: str) -> dict[str, Array]:
    """The arrays that hold hidden states, by name (`states.array_name`).

    Args:
        layers: numbers of layers by kind, `cls` and `hidden` (0: the embeddings).
        width: width of the states.
    """
    return {
        array_name(kind, layer): Array(width, kind == "hidden", dtype)
        for kind, numbers in layers.items()
        for layer in numbers
    }


def write(
    folder: Path,
    model: nn.Module,
    weights: Path,
    data: Prepared,
    task: Task,
    settings: Predict,
    runtime: Runtime,
    label: str,
    features: Any = None,
    states: tuple[Path, Mapping[str, Array]] | None = None,
    reader: Prepared | None = None,
) -> Written:
    """Fill a cache (`distill.signals.cache`) batch by batch, in constant memory; resumes a killed run.

    Where several processes run (`distill.runtime.distributed`), each runs the model on a share of the batches.

    Args:
        folder: scratch folder of the logits; `cache.complete` makes it ready to be moved into place.
        model: runs frozen, on the GPU if there is one.
        weights: file of the model's weights, whose hash the cache keeps.
        runtime: options, of which the attention is used.
        label: label of the progress bar.
        features: rows to predict, made from the training features; None: those that the teacher's outputs are of.
        states: a second folder, for hidden states from the same forward passes, and its arrays (`state_arrays`).
        reader: the data in the model's own tokens (`Prepared.read_by`); its outputs are written for the tokens of
            `data`: as they are where both have the same rows, moved where they have other windows
            (`signals.other_tokens`), of which no states are kept. None: the model reads the tokens of `data`.
    """
    if reader is data:
        reader = None
    if reader is not None and task.per_token:
        return _write_moved(folder, model, weights, data, task, settings, runtime, label, states, reader)
    model = freeze(model).to(default_device())
    features = data.taught_features() if features is None else features
    offsets = layout(features, per_token=True)
    if reader is not None:
        other_tokens.check_rows(reader.taught_features(), features)
        features = reader.taught_features()
    logits = Array(task.channels, task.per_token)
    part = distributed.rank(), distributed.count()
    targets = [(folder, {"logits": logits}), *([states] if states else [])]
    if not distributed.is_first():
        distributed.wait()  # for the files
    writers = [Writer(target, offsets, arrays, part=part) for target, arrays in targets]
    if distributed.is_first():
        distributed.wait()
    wanted = dict(states[1]) if states else {}

    def forward(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        outputs = forward_pass(model, task, batch, hidden=bool(wanted))
        values = {"logits": outputs.logits}
        for name, array in wanted.items():
            state = outputs.hidden[layer_of(name)]
            values[name] = state if array.per_token else state[:, 0]
        return values

    start = min(writer.done for writer in writers)
    began, marked = time.monotonic(), time.monotonic()
    size, device = settings.batch_size, default_device()
    pad = (reader or data).tokenizer().pad_token_id
    longest = int(np.diff(layout(features, per_token=True)).max())
    batches = predict(forward, features, pad, size, device, settings.precision, label, start=start, part=part)
    with acceleration.attention(model, runtime, longest):
        for done, rows, values in batches:
            _store(writers, rows, values)
            if time.monotonic() - marked > _SECONDS:
                for writer in writers:
                    writer.mark(done)
                marked = time.monotonic()
    for writer in writers:
        writer.mark(-(-len(features) // size))  # all batches of every part
    distributed.wait()
    seconds = time.monotonic() - began
    if distributed.is_first():
        for writer in writers:
            writer.finish(_meta(data, weights, task, settings))
    computed = max(0, len(features) - start * size * part[1])
    return Written(len(features), int(logits.entries(offsets)[-1]), computed / seconds if seconds else 0.0)


def _write_moved(
    folder: Path,
    model: nn.Module,
    weights: Path,
    data: Prepared,
    task: Task,
    settings: Predict,
    runtime: Runtime,
    label: str,
    states: tuple[Path, Mapping[str, Array]] | None,
    reader: Prepared,
) -> Written:
    """`write` over the model's own windows into a folder beside, from where the first process moves the logits."""
    if states and states[1]:
        raise ValueError("states of windows are not of the same text in other tokens")
    windows = folder.with_name(f"{folder.name}-windows")
    written = write(windows, model, weights, reader, task, settings, runtime, label)
    if not distributed.is_first():
        return written
    meta = _meta(data, weights, task, settings)
    move = other_tokens.write_windows if task.logits_of == "positions" else other_tokens.write_words
    moved = move(folder, windows, data, reader, meta)
    if states:
        Writer(states[0], layout(data.taught_features(), per_token=True), {}).finish(meta)
    return replace(written, rows=len(data.taught_features()), moved=moved)


def _meta(data: Prepared, weights: Path, task: Task, settings: Predict) -> dict[str, str]:
    return {"task": task.name, "precision": settings.precision, **identity(data, weights)}


def _store(writers: list[Writer], rows: np.ndarray, values: dict[str, np.ndarray]) -> None:
    for writer in writers:
        writer.write(rows, {name: values[name] for name in writer.arrays})
