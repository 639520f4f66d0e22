"""Correlations of two sets of numbers in place of their differences."""

from __future__ import annotations

import torch
from torch import Tensor

# Least sum of squares of a side that is divided by its root; a constant side correlates with nothing, value and
# gradient 0.
_LEAST = 1e-12


def correlation(student: Tensor, teacher: Tensor, counted: Tensor | None = None) -> Tensor:
    """Pearson's correlation along the last axis, (…), float32, from −1 to 1.

    Args:
        student: (…, n), float.
        teacher: (…, n); no gradient flows into it.
        counted: (…, n), weights from 0 on, or bool; None: all count alike.

    Returns:
        0 where a side is constant, or fewer than two values count.
    """
    student, teacher = student.float(), teacher.detach().float()
    weight = torch.ones_like(student) if counted is None else counted.float().expand_as(student)
    total = weight.sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    own, other = (side - (weight * side).sum(-1, keepdim=True) / total for side in (student, teacher))
    lengths = [(weight * side.square()).sum(-1).clamp(min=_LEAST).sqrt() for side in (own, other)]
    return (weight * own * other).sum(-1) / (lengths[0] * lengths[1])
