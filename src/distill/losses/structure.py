"""Distances between the shapes of two sets of points: their pairwise cosines and their angles. No projections.

Both are invariant to the width and to a rotation of either side. Pairs and triples of points that are too close for
their direction to mean anything (two equal tokens at the embeddings of a model without absolute positions) count as 0
on both sides.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Least squared distance of two points of an angle, as a share of their squared distances from the centre: below it,
# float32 has no digits left.
_LEAST_SHARE = 1e-5


def cosine_gap(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Squared differences of pairwise cosines (Park et al. 2021, arXiv 2109.08359; Park et al. 2019, RKD).

    Args:
        student: points (G, P, D), G sets of P.
        teacher: points (G, P, D'); no gradient flows into them.
        mask: bool (G, P), true at the points that count.

    Returns:
        Mean over the pairs of two different points of a set, of all sets: a scalar, float32; 0 without any pair.
    """
    cosines = []
    with torch.autocast(student.device.type, enabled=False):
        for points in (student, teacher.detach()):
            unit = F.normalize(points.float(), dim=-1)
            cosines.append(unit @ unit.transpose(-1, -2))
    pairs = mask[:, :, None] & mask[:, None, :]
    pairs = pairs & ~torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
    return _mean((cosines[0] - cosines[1]).square(), pairs)


def angle_gap(student: Tensor, teacher: Tensor, mask: Tensor, reach: int) -> Tensor:
    """Squared differences of the cosines of angles at a point, between two others no farther than `reach` places.

    Args:
        student: points (G, P, D), in order.
        teacher: points (G, P, D'); no gradient flows into them.
        mask: bool (G, P), true at the points that count.
        reach: places before and behind the vertex; 10 is the paper's window of 21.

    Returns:
        Mean over the triples (vertex j; i < k, both others, |i − j| and |k − j| at most `reach`) of points that count,
        of all sets: a scalar, float32; 0 without any triple.
    """
    reach = min(reach, mask.shape[1] - 1)
    if reach < 1:
        return (student.float() * 0).sum()
    places = torch.tensor([step for step in range(-reach, reach + 1) if step], device=mask.device)
    vertex = torch.arange(mask.shape[1], device=mask.device)[:, None]
    others = vertex + places  # (P, W)
    inside = (others >= 0) & (others < mask.shape[1])
    others = others.clamp(0, mask.shape[1] - 1)
    known = mask[:, others] & inside & mask[:, :, None]  # (G, P, W)
    triples = known[..., :, None] & known[..., None, :]
    triples = triples & torch.ones_like(triples[0, 0]).triu(1)
    with torch.autocast(student.device.type, enabled=False):
        angles = [_angles(points.float(), others, mask) for points in (student, teacher.detach())]
    # A direction that one side does not have is none on the other either.
    sound = angles[0][1] & angles[1][1]
    gap = (angles[0][0] - angles[1][0]).square().masked_fill(~sound, 0.0)
    return _mean(gap, triples)


def _angles(points: Tensor, others: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(cosines at each vertex between each two of its window, (G, P, W, W); where both directions mean something).

    From products of points alone: ⟨i − j, k − j⟩ = ik − ij − jk + jj. Differences themselves would take D times the
    memory.
    """
    count = mask.sum(-1, keepdim=True).unsqueeze(-1).clamp(min=1)
    # Angles do not depend on the origin; at the centre the products keep their digits.
    points = points.masked_fill(~mask.unsqueeze(-1), 0.0)
    points = (points - points.sum(1, keepdim=True) / count).masked_fill(~mask.unsqueeze(-1), 0.0)
    products = points @ points.transpose(-1, -2)  # (G, P, P)
    squares = products.diagonal(dim1=-2, dim2=-1)  # (G, P)
    vertex = torch.arange(others.shape[0], device=others.device)
    with_vertex = products[:, vertex[:, None], others]  # (G, P, W): ij
    between = products[:, others[:, :, None], others[:, None, :]]  # (G, P, W, W): ik
    own = squares[:, vertex, None]  # jj
    distances = squares[:, others] - 2 * with_vertex + own
    sound = distances > _LEAST_SHARE * (squares[:, others] + own)
    lengths = torch.where(sound, distances, 1.0).sqrt()
    inner = between - with_vertex[..., :, None] - with_vertex[..., None, :] + own[..., None]
    return inner / (lengths[..., :, None] * lengths[..., None, :]), sound[..., :, None] & sound[..., None, :]


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    return values.masked_fill(~counted, 0.0).sum() / counted.sum().clamp(min=1)
