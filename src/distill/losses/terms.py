"""Masked loss primitives. Every docstring states the reduction, because sources mix them and α's depend on it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F


def soft(student: Tensor, teacher: Tensor, temperature: float, mask: Tensor | None = None) -> Tensor:
    """T² · KL(softmax(teacher/T) ‖ softmax(student/T)) (Hinton et al. 2015), summed over classes, mean over rows.

    Args:
        student: logits (rows, classes), float.
        teacher: logits (rows, classes); no gradient flows into it.
        temperature: T > 0.
        mask: (rows, classes), true where a class exists; the others are −∞ in both distributions.

    Returns:
        A scalar.
    """
    return soft_rows(student, teacher, temperature, mask).mean()


def soft_rows(student: Tensor, teacher: Tensor, temperature: float, mask: Tensor | None = None) -> Tensor:
    """`soft` of each row, (rows,): T² · KL, summed over classes; arguments as there."""
    student, teacher = student.float() / temperature, teacher.detach().float() / temperature
    if mask is not None:
        student = student.masked_fill(~mask, -torch.inf)
        teacher = teacher.masked_fill(~mask, -torch.inf)
    log_s, log_t = F.log_softmax(student, -1), F.log_softmax(teacher, -1)
    gap = log_t - log_s
    if mask is not None:
        # −∞ − (−∞) is nan: those classes have probability 0 and are left out, for value and gradient.
        gap = gap.masked_fill(~mask, 0.0)
    return temperature**2 * (log_t.exp() * gap).sum(-1)


#: The column of a batch with the weight of each row's soft targets, float32 (B,); without it all weigh the same.
TEACHER_WEIGHT = "teacher_weight"


def weighted_mean(rows: Tensor, batch: Mapping[str, Tensor], row: Tensor | None = None) -> Tensor:
    """Mean of a loss over rows, weighted where the batch has weights of its soft targets.

    Args:
        rows: the loss of each row, (B,); or of each choice in the batch, (R,).
        batch: may have `TEACHER_WEIGHT`, (B,), values from 0 on.
        row: the row of the batch that each choice belongs to, (R,) (`tasks.base.ClassRows`); None: R is B.

    Returns:
        Σ w · loss / Σ w, a scalar; 0, with gradient 0, where all weights are 0 or there are no rows.
    """
    weight = batch.get(TEACHER_WEIGHT)
    if weight is None:
        return rows.mean() if len(rows) else rows.sum()
    weight = weight if row is None else weight[row]
    return (weight * rows).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)


def mse_tok(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    """Mean squared error over real tokens and width.

    Args:
        student: hidden states (B, L, D).
        teacher: hidden states (B, L, D); no gradient flows into it.
        mask: (B, L), true at real tokens; None averages over padding too, as the official TED code does.

    Returns:
        Σ (a − b)² / (number of real tokens · D), a scalar.
    """
    squared = (student.float() - teacher.detach().float()).square()
    if mask is None:
        return squared.mean()
    return (squared.mean(-1) * mask).sum() / mask.sum()


def mse_cls(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of the first token's L2-normalised states, mean over (B, D) (PKD, Sun et al. 2019).

    Args:
        student: hidden states (B, L, D), or first-token states (B, D).
        teacher: the same shape; no gradient flows into it.
    """
    if student.dim() == 3:
        student, teacher = student[:, 0], teacher[:, 0]
    gap = F.normalize(student.float(), dim=-1) - F.normalize(teacher.detach().float(), dim=-1)
    return gap.square().mean()


def cross_entropy(logits: Tensor, target: Tensor, mask: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy, mean over the rows whose target is a class.

    Args:
        logits: (rows, classes).
        target: (rows,), int64; values outside 0…classes−1, or where no class exists, are ignored.
        mask: (rows, classes), true where a class exists.
        smoothing: ε; the target is (1 − ε) on the gold class plus ε spread evenly over the existing classes.
    """
    logits = logits.float()
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf)
    log_p = F.log_softmax(logits, -1)
    exists = torch.ones_like(log_p, dtype=torch.bool) if mask is None else mask
    inside = target.clamp(0, logits.shape[-1] - 1).unsqueeze(-1)
    valid = (target == inside.squeeze(-1)) & exists.gather(-1, inside).squeeze(-1)
    loss = -log_p.gather(-1, inside).squeeze(-1)
    if smoothing:
        even = -log_p.masked_fill(~exists, 0.0).sum(-1) / exists.sum(-1)
        loss = (1 - smoothing) * loss + smoothing * even
    # Rows that are left out are replaced, not multiplied: 0 · ∞ is nan.
    return torch.where(valid, loss, 0.0).sum() / valid.sum().clamp(min=1)


def weighted_cross_entropy(logits: Tensor, target: Tensor, weights: Tensor, smoothing: float = 0.0) -> Tensor:
    """Σ w[target] · cross-entropy / Σ w[target] over the rows with a target; 0 without any.

    That is `torch.nn.functional.cross_entropy(weight=…, label_smoothing=…)`, which gives NaN where no row has a target.

    Args:
        logits: (rows, classes).
        target: (rows,), int64; rows with -100 are left out.
        weights: (classes,), above 0.
        smoothing: ε; the target is (1 − ε) on the gold class plus ε spread evenly over all, each times its weight.
    """
    weights = weights.float()
    total = F.cross_entropy(logits.float(), target, weights, reduction="sum", label_smoothing=smoothing)
    share = torch.where(target >= 0, weights[target.clamp(min=0)], 0.0).sum()
    return total / torch.where(share > 0, share, 1.0)
