"""Contrast: a vector of one model is to be nearer to the other model's vector of the same text than to those of others.

InfoNCE (van den Oord et al. 2018, arXiv 1807.03748) between two models, as contrastive distillation has it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def mean_states(states: Tensor, mask: Tensor) -> Tensor:
    """The float32 mean of the states of a row's real tokens, (B, D).

    Args:
        states: hidden states (B, L, D).
        mask: (B, L), 1 or true at real tokens, of which a row has one or more.
    """
    # Padding is replaced, not multiplied: 0 · nan is nan.
    real = states.float().masked_fill(~mask.bool()[..., None], 0.0)
    return real.sum(1) / mask.bool().sum(1, keepdim=True)


def contrast(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """−log exp(sim(s_i, t_i)/τ) / Σ_j exp(sim(s_i, t_j)/τ), mean over rows i; sim is the cosine, j all rows.

    Gradients flow into both sides. Of a single row it is 0: there is nothing to tell it from.

    Args:
        student, teacher: vectors (B, P), row by row of the same texts.
        temperature: τ > 0.

    Returns:
        A scalar, float32, from 0 on.
    """
    with torch.autocast(student.device.type, enabled=False):
        units = [F.normalize(side.float(), dim=-1) for side in (student, teacher)]
        return F.cross_entropy(units[0] @ units[1].T / temperature, torch.arange(len(student), device=student.device))
