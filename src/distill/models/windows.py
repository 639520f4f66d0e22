"""Whether a model can be run on the data's windows, and gives a row the same logits in every batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from distill.data.loading.batches import MULTIPLE, Collator
from distill.data.loading.prepared import Prepared
from distill.data.loading.template import TOKEN_TYPES
from distill.errors import UserError, reason
from distill.models.forward import autocast, forward_pass, in_eval, reads_token_types
from distill.tasks.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Largest change of a logit by padding, in standard deviations of the logits, that is taken for rounding.
TOLERANCE = 1e-4
# Rounding itself, relative to the largest logit, for logits that hardly differ from each other.
_ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-5}
# Of a masked language model's logits for every word, some say enough; all would fill gigabytes.
_CHANNELS = 64
# Heads that hide the question take 1,000,000 from its logits (BigBird's): no measure of how logits differ.
_MASKED = 1e5

#: A row of the features: `input_ids`, and `token_type_ids` where there are any.
Row = dict[str, list[int]]


def check(
    model: PreTrainedModel, task: Task, data: Prepared, pad_token_id: int, precision: str, where: str
) -> list[str]:
    """Try a model on the data's own rows, before hours of training meet its limits.

    Args:
        precision: `fp32` or `bf16`, in which it is trained.
        where: the model's section, for messages.

    Returns:
        remarks for the user.

    Raises:
        UserError: the model cannot be run on the longest window, or padding changes its logits.
    """
    rows = samples(data)
    check_window(model, task, rows, pad_token_id, precision, where)
    check_padding(model, task, rows, pad_token_id, where)
    if data.meta.get("pairs") and TOKEN_TYPES not in rows[0] and reads_token_types(model):
        return [
            f"the tokenizer makes no token types, and the {where} ({model.config.model_type}) tells two texts apart by"
            " them: all are 0"
        ]
    return []


def samples(data: Prepared) -> list[Row]:
    """The data's longest row, and few of its training rows: the shortest, even and odd, and one of middle length."""
    lengths = {split: np.asarray(data.features(split).data.column("length")) for split in data.meta["splits"]}
    longest = max(lengths, key=lambda split: lengths[split].max(initial=0))
    train = lengths[data.main_split]
    order = np.argsort(train, kind="stable")
    odd = train[order] % 2 == 1
    numbers = [*order[odd][:1], *order[~odd][:1], order[len(order) // 2]]
    places = [
        (longest, int(lengths[longest].argmax())),
        *((data.main_split, int(number)) for number in dict.fromkeys(numbers)),
    ]
    return [_row(data.features(split), number) for split, number in places]


def _row(features: Any, number: int) -> Row:
    row = features[number]
    return {name: row[name] for name in ("input_ids", TOKEN_TYPES) if name in row}


def batch_of(row: Row, width: int, pad_token_id: int) -> dict[str, Tensor]:
    """A batch of one row, padded to `width` tokens."""
    batch = Collator(pad_token_id, ())([row])
    values = {"input_ids": pad_token_id, TOKEN_TYPES: 0, "attention_mask": 0}
    length = len(row["input_ids"])
    return {
        name: torch.nn.functional.pad(batch[name][:, :length], (0, width - length), value=value)
        for name, value in values.items()
        if name in batch
    }


def padded_width(length: int) -> int:
    """Tokens of a batch whose longest row has `length`."""
    return -(-length // MULTIPLE) * MULTIPLE


def check_window(
    model: PreTrainedModel, task: Task, rows: Sequence[Row], pad_token_id: int, precision: str, where: str
) -> None:
    """Run the model once on the longest row.

    Args:
        rows: rows of the data, the longest first.
        precision: `fp32` or `bf16`.
        where: the model's section, for messages.

    Raises:
        UserError: the model has fewer positions, or cannot be run at all.
    """
    kind, tokens = model.config.model_type, len(rows[0]["input_ids"])
    width = padded_width(tokens)
    error = _fault(model, task, rows[0], width, pad_token_id, precision)
    if error is None:
        return
    if precision == "bf16" and _fault(model, task, rows[0], width, pad_token_id, "fp32") is None:
        raise UserError(
            f"params.yaml: {where}: precision: bf16: a {kind} does not run in it ({reason(error)}): set precision to"
            " fp32 (training.precision, or in the section itself)"
        ) from error
    few = {name: values[:MULTIPLE] for name, values in rows[0].items()}
    if (
        isinstance(error, (IndexError, RuntimeError))
        and _fault(model, task, few, len(few["input_ids"]), pad_token_id, precision) is None
    ):
        positions = getattr(model.config, "max_position_embeddings", "unknown")
        raise UserError(
            f"params.yaml: features.max_length: windows of {tokens} tokens, {width} in a batch, do not fit the {where}"
            f" (max_position_embeddings {positions}; {reason(error)}): lower features.max_length, or choose a model"
            " with more positions"
        ) from error
    raise UserError(
        f"params.yaml: {where}.model: this {kind} cannot be run on the data's rows of task {task.name}"
        f" ({type(error).__name__}: {reason(error)}): choose another model, or the tokenizer that it was made for"
    ) from error


def _fault(
    model: PreTrainedModel, task: Task, row: Row, width: int, pad_token_id: int, precision: str
) -> Exception | None:
    """The error that the model raises on a row."""
    batch = {name: value.to(model.device) for name, value in batch_of(row, width, pad_token_id).items()}
    try:
        with torch.no_grad(), in_eval(model), autocast(model.device, precision):
            forward_pass(model, task, batch)
    except Exception as error:  # each architecture has exceptions of its own
        return error
    return None


def check_padding(
    model: PreTrainedModel, task: Task, rows: Sequence[Row], pad_token_id: int, where: str, width: int | None = None
) -> None:
    """Refuse a model whose logits for a row depend on how far the row is padded: they would depend on the batch.

    Computed in float64, where rounding is far below what a wrong mask does. Weights are the same afterwards.

    Args:
        rows: rows of the data, the longest first.
        where: the model's section, for messages.
        width: tokens to pad to; None: those of the longest row's batch.

    Raises:
        UserError: a logit moves by more than `TOLERANCE` standard deviations of the logits.
    """
    width = width or padded_width(len(rows[0]["input_ids"]))
    for dtype in (torch.float64, torch.float32):
        try:
            alone, padded = _both_ways(model.to(dtype), task, rows, pad_token_id, width)
            break
        except RuntimeError:
            if dtype is torch.float32:
                raise
            # MRA's code insists on float32.
        finally:
            model.float()  # exact: float64 holds every float32
    if not alone:
        return  # all rows fill their batches
    reference, changed = torch.cat(alone), torch.cat(padded)
    ordinary = reference[reference.abs() < _MASKED] if (reference.abs() < _MASKED).any() else reference
    spread = float(ordinary.std(unbiased=False))
    largest = float((reference - changed).abs().max())
    if not largest <= TOLERANCE * spread + _ROUNDING[dtype] * float(ordinary.abs().max()):
        raise UserError(
            f"params.yaml: {where}.model: padding a row to {width} tokens moves the logits of this"
            f" {model.config.model_type} by up to {largest / max(spread, 1e-300):.2g} standard deviations: it computes"
            " with padding as with words, so scores would depend on the batch: choose another architecture"
        )


@torch.no_grad()
def _both_ways(
    model: PreTrainedModel, task: Task, rows: Sequence[Row], pad_token_id: int, width: int
) -> tuple[list[Tensor], list[Tensor]]:
    """The logits of each row that leaves room for padding, flat: as it is, and padded to `width`."""
    alone, padded = [], []
    with in_eval(model):
        for row in rows:
            length = len(row["input_ids"])
            # Padded rows go before: BigBird changes its attention for good when it meets a short batch.
            for values, tokens in ((padded, width), (alone, length)) if length < width else ():
                batch = batch_of(row, tokens, pad_token_id)
                batch = {name: value.to(model.device) for name, value in batch.items()}
                logits = forward_pass(model, task, batch).logits
                values.append((logits[:, :length, :_CHANNELS] if logits.dim() == 3 else logits).flatten())
    return alone, padded
