"""Whether an architecture can be used and gives what methods take: tried on a small copy before anything is trained."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel, set_seed

from distill.errors import UserError, reason
from distill.models import windows
from distill.models.forward import default_device, forward_pass
from distill.models.loading import silence_padding
from distill.models.shape import with_layers
from distill.tasks.base import Task

# Words of the small copy, and the ids of its special tokens.
_WORDS = 64
_SPECIAL = {"pad_token_id": 0, "bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
#: Separators that RoBERTa's tokenizer puts into a pair, which Longformer's head counts. BERT's puts two.
MOST_SEPARATORS = 3
# Rows of an even and of an odd length, and the width that they are padded to.
_LENGTHS, _WIDTH = (24, 17), 40
# Standard deviation of what is added to the weights, times the root of the width.
_NOISE = 0.4


@dataclass(frozen=True)
class Use:
    """What a listed method does with a model.

    Attributes:
        method: the listed name, for messages.
        role: `student` or `teacher`, for messages.
        takes: any of `hidden` (states of all layers), `attention` (scores), `qkv` (queries, keys and values), and
            `embeddings` (it runs the model on word embeddings in place of tokens).
    """

    method: str
    role: str
    takes: frozenset[str]


def check(
    config: PretrainedConfig,
    task: Task,
    where: str,
    uses: Sequence[Use] = (),
    half: bool = False,
    separators: Callable[[], int] = lambda: MOST_SEPARATORS,
) -> None:
    """Refuse an architecture that computes with padding, or cannot give what methods take of it.

    Padding is looked at as by `windows.check_padding` for the whole model.

    Args:
        config: the model's configuration; left as it is.
        where: the model's section, for the message.
        uses: what methods do with it.
        half: whether it is trained in bf16.
        separators: gives the separators that its tokenizer puts into a pair of texts; called where a head counts them.

    Raises:
        UserError: a copy with two layers, few words and random weights does not do it.
    """
    model = small(config, task)
    if model is None:
        return
    try:
        windows.check_window(model, task, _rows(2), 0, "fp32", where)
    except UserError:
        if separators() < MOST_SEPARATORS:
            raise
    windows.check_padding(model, task, _rows(), 0, where, _WIDTH)
    for use in uses:
        check_use(model, task, use)
    if half:
        windows.check_window(model.to(default_device()), task, _rows(), 0, "bf16", where)


def check_use(model: PreTrainedModel, task: Task, use: Use) -> None:
    """Refuse a model that cannot give what a method takes of it.

    Args:
        model: a `small` one; it is left in eager attention where scores are taken.

    Raises:
        UserError: it lacks something.
    """
    kind = model.config.model_type
    each = [windows.batch_of(row, _WIDTH, 0) for row in _rows()]
    batch = {name: torch.cat([one[name] for one in each]) for name in each[0]}
    try:
        for what in sorted(use.takes):
            _TAKERS[what](model, task, batch)
    except UserError as error:
        raise UserError(f"params.yaml: methods: {use.method}: the {use.role} is a {error}") from error
    except Exception as error:  # each architecture has exceptions of its own
        raise UserError(
            f"params.yaml: methods: {use.method}: the {use.role} is a {kind}, which cannot be run for its"
            f" {' and '.join(sorted(use.takes))} ({reason(error)}): take {use.method} out of methods, or choose another"
            " architecture"
        ) from error


@torch.no_grad()
def _take_hidden(model: PreTrainedModel, task: Task, batch: dict[str, Tensor]) -> None:
    states = forward_pass(model, task, batch, hidden=True).hidden
    layers, expected = model.config.num_hidden_layers, (*batch["input_ids"].shape, model.config.hidden_size)
    if len(states or ()) != layers + 1 or any(tuple(state.shape) != expected for state in states):
        raise UserError(
            f"{model.config.model_type}: it does not give the state of every token after the embeddings and each of its"
            f" {layers} layers: take a method that compares no states"
        )


@torch.no_grad()
def _take_attention(model: PreTrainedModel, task: Task, batch: dict[str, Tensor]) -> None:
    forward_pass(model, task, batch, attention=True)


@torch.no_grad()
def _take_qkv(model: PreTrainedModel, task: Task, batch: dict[str, Tensor]) -> None:
    forward_pass(model, task, batch, qkv=True)


@torch.no_grad()
def _take_embeddings(model: PreTrainedModel, task: Task, batch: dict[str, Tensor]) -> None:
    """Its own word embeddings must give what the tokens give: some heads look at the tokens themselves."""
    table, same = model.get_input_embeddings(), False
    expected = forward_pass(model, task, batch).logits
    try:
        embeddings = table(batch["input_ids"])
        if torch.equal(embeddings, table.weight[batch["input_ids"]]):
            logits = forward_pass(model, task, batch, embeddings=embeddings).logits
            real = batch["attention_mask"].bool() if task.per_token else slice(None)
            gap, spread = (logits - expected)[real].abs().max(), expected[real].std()
            same = bool(gap <= windows.TOLERANCE * spread)
    except Exception:  # as above
        same = False
    if not same:
        raise UserError(
            f"{model.config.model_type}: it gives other logits for word embeddings than for the words themselves, or"
            " none: take a method that does not change embeddings"
        )


_TAKERS = {
    "hidden": _take_hidden,
    "attention": _take_attention,
    "qkv": _take_qkv,
    "embeddings": _take_embeddings,
}


def _rows(separators: int = MOST_SEPARATORS) -> list[windows.Row]:
    """A pair of texts, twice: the longer row first."""
    rows = []
    for length in _LENGTHS:
        words = [5 + (7 * place + length) % (_WORDS - 5) for place in range(length)]
        words[0], words[5], words[-1] = 2, 3, 3
        if separators == MOST_SEPARATORS:
            words[6] = 3
        rows.append({"input_ids": words})
    return rows


def small(config: PretrainedConfig, task: Task) -> PreTrainedModel | None:
    """A copy of a model with two layers, few words and random weights, in evaluation mode.

    None where it cannot be built or run: then the stage that trains the model tries the whole one.
    """
    fields = {"vocab_size": _WORDS, **_SPECIAL, **task.model_fields()}
    set_seed(0)
    try:
        if hasattr(config, "block_sizes"):  # Funnel's layers stand in blocks, whose sizes are its depth
            small = copy.deepcopy(config)
            small.update(fields)
        else:
            small = with_layers(config, range(1, min(config.num_hidden_layers, 2) + 1), fields)
        model = task.auto_class().from_config(small, dtype=torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():  # biases are zero at first, and hide what a layer does with padding
                parameter.add_(torch.randn_like(parameter), alpha=_NOISE / config.hidden_size**0.5)
        silence_padding(model, 0)
        batch = windows.batch_of({"input_ids": [2, 5, 6, 3, 3, 7, 8, 3]}, _WIDTH, 0)
        with torch.no_grad():
            forward_pass(model.eval(), task, batch)
    except Exception:  # each architecture has exceptions of its own
        return None
    return model
