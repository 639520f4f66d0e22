"""Distances between what student and teacher attend to, and between relations of their tokens. No projections."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

#: Log-probabilities below it count as this: a student's window of attention may leave out what the teacher attends to.
LEAST_LOG = -100.0


def relation_divergence(student: Tensor, teacher: Tensor, heads: int, mask: Tensor) -> Tensor:
    """KL between self-attention relations (MiniLMv2, Wang et al. 2021, arXiv 2012.15828, eq. 4 and 5).

    The states of all heads are one vector a token, cut again into `heads` relation heads X of width d / heads; a
    relation is softmax(X Xᵀ / √(d / heads)) over the real tokens.

    Args:
        student: queries, keys or values (B, L, d).
        teacher: (B, L, d'), of the same kind; no gradient flows into it. d and d' are multiples of `heads`.
        heads: number of relation heads.
        mask: bool (B, L), true at real tokens.

    Returns:
        KL(teacher ‖ student), summed over keys, mean over relation heads and real tokens: a scalar, float32.
    """
    return _divergence(*(_relations(side, heads, mask) for side in (student, teacher.detach())), mask)


def attention_divergence(student: Tensor, teacher: Tensor, mask: Tensor, average: bool) -> Tensor:
    """KL between attention distributions (MiniLM, Wang et al. 2020, arXiv 2002.10957, eq. 5, where heads match).

    Args:
        student: attention scores before the softmax, (B, heads, L, L).
        teacher: the same; no gradient flows into it.
        mask: bool (B, L), true at real tokens.
        average: compares the means of the distributions over each model's heads; else head by head.

    Returns:
        KL(teacher ‖ student), summed over keys, mean over heads and real tokens: a scalar, float32.
    """
    sides = []
    for scores in (student, teacher.detach()):
        log_p = _log_softmax(scores.float(), mask)
        sides.append(torch.logsumexp(log_p, 1, keepdim=True) - math.log(log_p.shape[1]) if average else log_p)
    return _divergence(*sides, mask)


def _relations(states: Tensor, heads: int, mask: Tensor) -> Tensor:
    """Log-probabilities (B, heads, L, L)."""
    # Under bf16 autocast the products would lose the digits that the softmax needs.
    with torch.autocast(states.device.type, enabled=False):
        cut = states.float().unflatten(-1, (heads, -1)).transpose(1, 2)
        scores = cut @ cut.transpose(-1, -2) / math.sqrt(cut.shape[-1])
    return _log_softmax(scores, mask)


def _log_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Over the real keys; those at padding are `LEAST_LOG`, as is what is lower."""
    # The least number instead of −∞: a model's own mask may have left a padded token nothing to attend to.
    masked = scores.masked_fill(~mask[:, None, None], torch.finfo(scores.dtype).min)
    return F.log_softmax(masked, -1).clamp(min=LEAST_LOG)


def _divergence(log_s: Tensor, log_t: Tensor, mask: Tensor) -> Tensor:
    rows = (log_t.exp() * (log_t - log_s)).sum(-1).mean(1)
    return rows.masked_fill(~mask, 0.0).sum() / mask.sum()
