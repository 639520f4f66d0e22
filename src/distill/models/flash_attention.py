"""Fused attention for DeBERTa on a GPU: the optional package `disentangled-flash`, used where it proves equal to eager.

transformers computes DeBERTa-v2's and v3's disentangled attention step by step, in memory quadratic in the length. The
package replaces the encoder's attention by one kernel, with dropout and backward pass; names of weights stay. Before a
model is trained with it, values and gradients are compared with the eager form on the model's own shapes.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from distill.data.loading.batches import MULTIPLE
from distill.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Relative to the largest entry. Sums are taken in another order; a wrong kernel is off by much more.
TOLERANCE = 1e-3
_FIX = "set it to auto"


@contextlib.contextmanager
def fused(model: PreTrainedModel, longest: int) -> Iterator[None]:
    """Put the kernel in place for the time of the block, after `check`.

    The model trains on meanwhile; afterwards it has its own attention again, with the weights that were trained.

    Args:
        model: a DeBERTa-v2 or v3, with or without a head.
        longest: tokens of the longest row.

    Raises:
        UserError: the package is missing, does not know this GPU, or differs from eager.
    """
    swap = _package()
    check(model, swap, longest)
    back = _swapped(model, swap)
    try:
        yield
    finally:
        back()


def check(model: PreTrainedModel, swap: Callable[[nn.Module], None], longest: int) -> None:
    """Raise a UserError where the swapped model's hidden states or gradients are not those of the model.

    Both run in evaluation mode and float32 on two rows, one of them padded, of the longest row's width.
    """
    from distill.models.forward import default_device

    # A teacher is frozen: the copies are not, or there would be no gradients to compare.
    plain, fused_copy = (copy.deepcopy(model).to(default_device()).eval().requires_grad_(True) for _ in range(2))
    _swapped(fused_copy, swap)
    width = -(-longest // MULTIPLE) * MULTIPLE
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.config.vocab_size, (2, width), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, width // 2 :] = 0
    ids, mask = ids.to(default_device()), mask.to(default_device())
    expected, actual = _values(plain, ids, mask), _values(fused_copy, ids, mask)
    scales: dict[str, float] = {}
    for name, value in expected.items():
        part = name.rpartition(".")[0]  # the gradient of a bias may be nothing but rounding, that of its weight is not
        scales[part] = max(scales.get(part, 1e-6), value.abs().max().item())
    for name, value in expected.items():
        off = (actual[name] - value).abs().max().item() if name in actual else float("inf")
        gap = off / scales[name.rpartition(".")[0]]
        if not gap <= TOLERANCE:
            raise UserError(
                f"params.yaml: runtime.attention: disentangled_flash differs from eager on this model and machine:"
                f" {name} by {gap:.1e} of the largest entry, {TOLERANCE:.0e} is allowed: {_FIX}"
            )


def _values(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Hidden states at real tokens, and the gradients of the sum of their products with fixed numbers, by name."""
    backbone = model.base_model
    hidden = backbone(input_ids=ids, attention_mask=mask, output_hidden_states=True, return_dict=True).hidden_states
    states = torch.stack(hidden)[:, mask.bool()]
    factors = torch.randn(states.shape, generator=torch.Generator().manual_seed(1)).to(states)
    (states * factors).sum().backward()
    gradients = {f"gradient of {name}": p.grad for name, p in backbone.named_parameters() if p.grad is not None}
    return {"hidden states": states.detach(), **gradients}


def _package() -> Callable[[nn.Module], None]:
    try:
        from disentangled_flash import optimize_deberta_training
    except ImportError as error:
        raise UserError(
            "params.yaml: runtime.attention: the package disentangled-flash is not installed: run"
            f" `pip install -e '.[flash]'`, or {_FIX}"
        ) from error
    return lambda backbone: optimize_deberta_training(backbone, backend="triton")


def _swapped(model: PreTrainedModel, swap: Callable[[nn.Module], None]) -> Callable[[], None]:
    """Swap the attention; returns a function that restores it."""
    backbone = model.base_model
    encoder = backbone.encoder
    before = [layer.attention.self for layer in encoder.layer]
    swap(backbone)
    after = [layer.attention.self for layer in encoder.layer]
    if any(old is new for old, new in zip(before, after, strict=True)):
        raise UserError(
            "params.yaml: runtime.attention: disentangled_flash does not run here: it needs an NVIDIA GPU with Triton,"
            f" and 32, 64 or 128 numbers per attention head: {_FIX}"
        )
    for old, new in zip(before, after, strict=True):
        for parameter, new_parameter in zip(old.parameters(), new.parameters(), strict=True):
            new_parameter.requires_grad_(parameter.requires_grad)

    def back() -> None:
        for layer, old, trained in zip(encoder.layer, before, after, strict=True):
            old.load_state_dict(trained.state_dict())
            old.to(next(trained.parameters()).device).train(trained.training)
            layer.attention.self = old
        backbone.encoder = encoder

    return back
