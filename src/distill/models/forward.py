"""Running a model: inputs that it takes, outputs as tasks and methods read them, precision and mode."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from distill.models import attention_scores as scores
from distill.tasks.base import Task


@dataclass
class Outputs:
    """What a forward pass gives.

    Attributes:
        logits: logits of the task, (B, L, C) or (B, C).
        hidden: if requested, the hidden states (B, L, D), embeddings first.
        attention: if requested, each layer's attention scores before the softmax, (B, heads, L, L).
    """

    logits: Tensor
    hidden: tuple[Tensor, ...] | None = None
    attention: tuple[Tensor, ...] | None = None


def forward_pass(
    model: PreTrainedModel,
    task: Task,
    batch: dict[str, Tensor],
    hidden: bool = False,
    attention: bool = False,
    embeddings: Tensor | None = None,
) -> Outputs:
    """One forward pass on the columns that this model takes (DistilBERT, for one, takes no token types).

    Args:
        attention: also the attention scores (see `distill.models.attention_scores`; the model is switched to eager
            attention).
        embeddings: word embeddings (B, L, width of the embeddings) in place of `input_ids`; what the model adds to
            them (positions, token types) it adds to these too.
    """
    accepted = _arguments(type(model))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch}
    inputs = {name: value for name, value in inputs.items() if name in accepted}
    if embeddings is not None:
        del inputs["input_ids"]
        inputs["inputs_embeds"] = embeddings
    if not attention:
        outputs = model(**inputs, output_hidden_states=hidden, return_dict=True)
        return Outputs(task.logits(outputs), outputs.hidden_states if hidden else None)
    scores.prepare(model)
    with _uncompiled(model), scores.Scores() as layers:
        outputs = model(**inputs, output_hidden_states=hidden, return_dict=True)
    return Outputs(task.logits(outputs), outputs.hidden_states if hidden else None, scores.check(layers.scores, model))


def _uncompiled(model: PreTrainedModel) -> contextlib.AbstractContextManager:
    """The plain forward pass: a compiled one hides its function calls from `Scores`."""
    if model._compiled_call_impl is None:
        return contextlib.nullcontext()  # set_stance imports the compiler
    return torch.compiler.set_stance("force_eager")


@cache
def _arguments(kind: type[PreTrainedModel]) -> frozenset[str]:
    return frozenset(inspect.signature(kind.forward).parameters)


def autocast(device: torch.device | str, precision: str) -> contextlib.AbstractContextManager:
    """bfloat16 autocast for `bf16`; for `fp32` none, also where a student around it trains in bf16."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16")


def freeze(model: nn.Module) -> nn.Module:
    """Evaluation mode and no gradients."""
    return model.eval().requires_grad_(False)


def default_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextlib.contextmanager
def in_eval(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for the time of the block."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
