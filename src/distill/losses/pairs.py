"""Differences between two scores of a group, compared between student and teacher, pair by pair.

Every function gives the loss of each group, (groups,), float32, and which groups have a pair, bool; no gradient flows
into the teacher. Pairs are those of passages of which one is more relevant, and in groups without labels all pairs. A
group's loss is the mean over its pairs, 0 where it has none.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def margin_mse(student: Tensor, teacher: Tensor, grades: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Margin-MSE: ((s⁺ − s⁻) − (t⁺ − t⁻))² (Hofstätter et al. 2020, arXiv 2010.02666, eq. 3).

    The paper has one relevant and one irrelevant passage of a query, and the mean over these triples.

    Args:
        student: scores (groups, passages), float.
        teacher: scores (groups, passages).
        grades: relevance (groups, passages), NaN where there is no label.
        mask: (groups, passages), true where a passage exists.
    """
    own, other = _differences(student), _differences(teacher.detach())
    return _mean((own - other).square(), _pairs(grades, mask))


def pairwise(
    student: Tensor, teacher: Tensor, grades: Tensor, mask: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """T² · KL(Bernoulli(σ((tᵢ − tⱼ)/T)) ‖ Bernoulli(σ((sᵢ − sⱼ)/T))): RankNet (Burges et al. 2005) with soft targets.

    RankNet's cross-entropy differs from it by the teacher's entropy, which has no gradient.

    Args: as for `margin_mse`.
        temperature: T > 0.
    """
    own, other = (_differences(side) / temperature for side in (student, teacher.detach()))
    p = other.sigmoid()
    gaps = p * (F.logsigmoid(other) - F.logsigmoid(own)) + (1 - p) * (F.logsigmoid(-other) - F.logsigmoid(-own))
    return _mean(temperature**2 * gaps, _pairs(grades, mask))


def _differences(scores: Tensor) -> Tensor:
    """scoreᵢ − scoreⱼ, float32, (groups, passages i, passages j)."""
    scores = scores.float()
    return scores.unsqueeze(-1) - scores.unsqueeze(-2)


def _pairs(grades: Tensor, mask: Tensor) -> Tensor:
    """Which (i, j) count, bool: i more relevant than j; without labels i before j, as both losses are symmetric."""
    exists = mask.unsqueeze(-1) & mask.unsqueeze(-2)
    better = grades.unsqueeze(-1) > grades.unsqueeze(-2)  # false for NaN
    unlabelled = (grades.isnan() | ~mask).all(-1)[:, None, None]
    return exists & torch.where(unlabelled, torch.ones_like(better).triu(1), better)


def _mean(gaps: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    total = torch.where(counted, gaps, 0.0).sum((-1, -2))
    count = counted.sum((-1, -2))
    return total / count.clamp(min=1), count > 0
