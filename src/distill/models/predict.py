"""Run a model over a split: logits for every feature, ragged, in length order so that little padding is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distill.data.loading.batches import Collator, Rows
from distill.models.forward import autocast, forward_pass, in_eval
from distill.runtime import allocator
from distill.runtime.progress import bar
from distill.tasks.base import Predicted, Task

# The columns that a model may read; predictions need no labels or offsets.
INPUTS = ("input_ids", "token_type_ids")


def length_order(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Row numbers in batches, longest first (a lack of memory shows at once)."""
    order = np.argsort(-lengths, kind="stable")
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


@torch.no_grad()
def predict(
    forward: Callable[[dict[str, Tensor]], Tensor | dict[str, Tensor]],
    features: Any,
    pad_token_id: int,
    batch_size: int,
    device: torch.device,
    precision: str,
    label: str,
    start: int = 0,
    part: tuple[int, int] = (0, 1),
) -> Iterator[tuple[int, np.ndarray, Any]]:
    """A model's outputs batch by batch.

    Draws no random numbers, so that evaluating in the middle of training does not change it.

    Args:
        forward: batch → logits (B, L, channels) or (B, channels), with a further last axis for several models at once;
            or several such outputs by name.
        start: number of batches to skip (done before).
        part: (k, n): every n-th batch from the k-th on, counted from 0: the part of process k of n.

    Yields:
        (batches of this part done so far, feature rows (B,), outputs of `forward`, in float32).
    """
    allocator.keep_freed()
    rows = Rows(features, INPUTS)
    collate = Collator(pad_token_id, ())
    batches = length_order(rows.lengths, batch_size)[part[0] :: part[1]]
    with bar(len(batches), label, initial=start, unit="batch", shown=part[0] == 0) as progress:
        for number, batch_rows in enumerate(batches[start:], start=start + 1):
            batch = {k: v.to(device) for k, v in collate(rows.__getitems__(batch_rows.tolist())).items()}
            with autocast(device, precision):
                outputs = forward(batch)
            if isinstance(outputs, dict):
                yield number, batch_rows, {name: _numpy(value) for name, value in outputs.items()}
            else:
                yield number, batch_rows, _numpy(outputs)
            progress.update()


def _numpy(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()


def layout(features: Any, per_token: bool) -> np.ndarray:
    """Where each feature's logits begin in an array that holds all of them: int64, (rows + 1,)."""
    lengths = np.asarray(features.data.column("length"), dtype=np.int64)
    return np.concatenate([[0], np.cumsum(lengths if per_token else np.ones_like(lengths))])


def predict_split(
    forward: Callable[[dict[str, Tensor]], Tensor],
    prepared: Any,
    split: str,
    batch_size: int,
    device: torch.device,
    precision: str,
    label: str,
    per_token: bool,
) -> Predicted:
    """`predict` over a whole split, gathered in memory."""
    features = prepared.features(split)
    offsets = layout(features, per_token)
    flat = None
    pad = prepared.tokenizer().pad_token_id
    for _, rows, logits in predict(forward, features, pad, batch_size, device, precision, label):
        if flat is None:
            flat = np.zeros((offsets[-1], *logits.shape[1 + per_token :]), np.float32)
        if not per_token:
            flat[rows] = logits
            continue
        for row, values in zip(rows, logits, strict=True):
            start, end = offsets[row], offsets[row + 1]
            flat[start:end] = values[: end - start]
    return Predicted(prepared.examples(split), features, flat, offsets, prepared.meta)


def forward_of(model: Any, task: Task) -> Callable[[dict[str, Tensor]], Tensor]:
    """The model's logits, in evaluation mode for the time of each call."""

    def forward(batch: dict[str, Tensor]) -> Tensor:
        with in_eval(model):
            return forward_pass(model, task, batch).logits

    return forward


def ensemble(predictions: Iterable[Predicted]) -> Predicted:
    """Several models as one: the mean of their logits over the same split, added up in float64.

    Only two of them are in memory at a time where they come from a generator.

    Raises:
        ValueError: there are none, or they are not of the same split.
    """
    reference, total, count = None, None, 0
    for predicted in predictions:
        if reference is None:
            reference, total = predicted, predicted.logits.astype(np.float64)
        elif not np.array_equal(reference.offsets, predicted.offsets) or total.shape != predicted.logits.shape:
            raise ValueError(f"model {count + 1} was run over other rows than the first: {predicted.logits.shape}")
        else:
            total += predicted.logits
        count += 1
    if reference is None:
        raise ValueError("an ensemble of no models")
    return replace(reference, logits=(total / count).astype(np.float32))
