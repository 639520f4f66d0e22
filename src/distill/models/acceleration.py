"""The options of section `runtime` for speed and memory: none changes a result beyond rounding.

Models are changed for the time of a training or a prediction and then restored, so that the plain model is saved. The
attention applies to both, `compile` and `gradient_checkpointing` to trainings only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from distill.config.machine import Runtime
from distill.errors import UserError
from distill.models import flash_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def encoders(module: nn.Module) -> list[PreTrainedModel]:
    """The models of transformers in a module, each whole: not also the encoder within a model with a head."""
    from transformers import PreTrainedModel

    if isinstance(module, PreTrainedModel):
        return [module]
    return [model for child in module.children() for model in encoders(child)]


def use_threads(runtime: Runtime) -> None:
    """Have torch compute with `runtime.threads` threads in this process; None leaves its own choice."""
    if runtime.threads:
        torch.set_num_threads(runtime.threads)


@contextlib.contextmanager
def attention(module: nn.Module, runtime: Runtime, longest: int) -> Iterator[None]:
    """The attention that `runtime` asks for, on every model in a module, for the time of the block.

    Args:
        longest: tokens of the longest row, for which a fused attention is tried before it is trusted.

    Raises:
        UserError: a model does not support an option.
    """
    with contextlib.ExitStack() as stack:
        for model in encoders(module) if runtime.attention != "auto" else []:
            stack.enter_context(_attending(model, runtime.attention, longest))
        yield


@contextlib.contextmanager
def settings(
    trained: nn.Module, companions: Sequence[PreTrainedModel], runtime: Runtime, longest: int
) -> Iterator[None]:
    """The options of `runtime` for the time of the block, on every model that is trained or runs along.

    Args:
        trained: the module that is trained.
        companions: models that run along with it; nothing of them is trained.
        longest: see `attention`.

    Raises:
        UserError: a model does not support an option.
    """
    with contextlib.ExitStack() as stack:
        if runtime.gradient_checkpointing:
            for model in encoders(trained):
                stack.enter_context(_checkpointed(model))
        for module in (trained, *companions):
            stack.enter_context(attention(module, runtime, longest))
            for model in encoders(module) if runtime.compile else []:
                stack.enter_context(_compiled(model))
        yield


@contextlib.contextmanager
def _checkpointed(model: PreTrainedModel) -> Iterator[None]:
    """The backward pass recomputes the layers, with the same dropout, in place of storing them."""
    if not model.supports_gradient_checkpointing:
        raise UserError(
            f"params.yaml: runtime.gradient_checkpointing: {model.config.model_type} cannot do it: set it to false"
        )
    name = "activation_checkpointing" if hasattr(model, "activation_checkpointing_enable") else "gradient_checkpointing"
    # The reentrant form computes nothing where a layer's input needs no gradient, and does not know autograd.grad.
    getattr(model, f"{name}_enable")({"use_reentrant": False})
    try:
        yield
    finally:
        getattr(model, f"{name}_disable")()


@contextlib.contextmanager
def _attending(model: PreTrainedModel, attention: str, longest: int) -> Iterator[None]:
    if attention == "disentangled_flash":
        fused = model.config.model_type == "deberta-v2"  # the others have SDPA
        with flash_attention.fused(model, longest) if fused else contextlib.nullcontext():
            yield
        return
    before = model.config._attn_implementation
    model.set_attn_implementation(attention)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@contextlib.contextmanager
def _compiled(model: PreTrainedModel) -> Iterator[None]:
    """The forward pass through torch.compile, once for all lengths and numbers of rows."""
    model.compile(dynamic=True)
    try:
        yield
    finally:
        model._compiled_call_impl = None  # torch has no public way back
