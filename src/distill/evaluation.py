"""Run a model over a split: logits for every feature, ragged, in length order so that little padding is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distill import models
from distill.batching import Collator, Rows
from distill.progress import bar
from distill.tasks.base import Task

# All that a model may take; labels and offsets are not needed to predict.
INPUTS = ("input_ids", "token_type_ids")


@dataclass
class Predicted:
    """Logits over a split.

    Attributes:
        examples, features: the split's tables (`datasets.Dataset`).
        logits: float32, (tokens, channels): the rows one after another.
        offsets: int64, (rows + 1,).
        meta: the prepared data's meta.json.
    """

    examples: Any
    features: Any
    logits: np.ndarray
    offsets: np.ndarray
    meta: dict


def length_order(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Row numbers in batches, longest first (a lack of memory shows at once)."""
    order = np.argsort(-lengths, kind="stable")
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


@torch.no_grad()
def predict(
    forward: Callable[[dict[str, Tensor]], Tensor],
    features: Any,
    pad_token_id: int,
    batch_size: int,
    device: torch.device,
    precision: str,
    label: str,
    start: int = 0,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Logits batch by batch.

    Draws no random numbers, so that evaluating in the middle of training does not change it.

    Args:
        forward: batch → logits (B, L, channels), or (B, L, channels, models) for several at once.
        start: number of batches to skip (done before).

    Yields:
        (batches done so far, feature rows (B,), logits float32).
    """
    rows = Rows(features, INPUTS)
    collate = Collator(pad_token_id, ())
    batches = length_order(rows.lengths, batch_size)
    with bar(len(batches), label, initial=start, unit="batch") as progress:
        for number, batch_rows in enumerate(batches[start:], start=start + 1):
            batch = {k: v.to(device) for k, v in collate(rows.__getitems__(batch_rows.tolist())).items()}
            with models.autocast(device, precision):
                logits = forward(batch)
            yield number, batch_rows, logits.float().cpu().numpy()
            progress.update()


def predict_split(
    forward: Callable[[dict[str, Tensor]], Tensor],
    prepared: Any,
    split: str,
    batch_size: int,
    device: torch.device,
    precision: str,
    label: str,
) -> Predicted:
    """`predict` over a whole split, gathered in memory."""
    features = prepared.features(split)
    lengths = np.asarray(features.data.column("length"))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    flat = None
    pad = prepared.tokenizer().pad_token_id
    for _, rows, logits in predict(forward, features, pad, batch_size, device, precision, label):
        if flat is None:
            flat = np.zeros((offsets[-1], *logits.shape[2:]), np.float32)
        for row, values in zip(rows, logits, strict=True):
            flat[offsets[row] : offsets[row + 1]] = values[: lengths[row]]
    return Predicted(prepared.examples(split), features, flat, offsets, prepared.meta)


def forward_of(model: Any, task: Task) -> Callable[[dict[str, Tensor]], Tensor]:
    """The model's logits, in evaluation mode for the time of each call."""

    def forward(batch: dict[str, Tensor]) -> Tensor:
        with models.in_eval(model):
            return models.run(model, task, batch).logits

    return forward
