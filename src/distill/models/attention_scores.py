"""Attention scores before the softmax, of any architecture, without new model classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from distill.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_SOFTMAX = {torch.softmax, torch.nn.functional.softmax, torch.Tensor.softmax}


class Scores(TorchFunctionMode):
    """Collects the input of every softmax over (B, heads, L, L) while the block runs, in the order of the layers.

    The scores hold what the model adds to them: position terms (DeBERTa), and very low values where attention is
    masked. They are part of the graph.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scores: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func in _SOFTMAX and args and args[0].dim() == 4 and args[0].shape[-1] == args[0].shape[-2]:
            self.scores.append(args[0])
        return func(*args, **(kwargs or {}))


def prepare(model: PreTrainedModel) -> None:
    """Switch the model to the attention that computes its scores (fused kernels never have them as a tensor).

    Raises:
        UserError: the architecture has no such form.
    """
    try:
        if model.config._attn_implementation != "eager":
            model.set_attn_implementation("eager")
    except ValueError as error:
        raise UserError(f"{model.config.model_type}: attention scores are not available: {error}") from error


def check(scores: list[Tensor], model: PreTrainedModel) -> tuple[Tensor, ...]:
    """One tensor (B, heads, L, L) per layer.

    Raises:
        UserError: the model's attention does not go through a softmax once per layer.
    """
    layers = model.config.num_hidden_layers
    if len(scores) != layers:
        raise UserError(
            f"{model.config.model_type}: {len(scores)} attention scores were seen for {layers} layers: this"
            " architecture's attention has no scores to compare: take a method that does not need them"
        )
    return tuple(scores)
