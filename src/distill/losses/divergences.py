"""Distances between the class distributions of student and teacher, other than `terms.soft_rows`, row by row.

Every function gives the loss of each row, (rows,), float32; no gradient flows into the teacher. The factors of T keep
the size of the gradient when T grows: T² where the divergence is quadratic in small differences (KL, Jensen-Shannon),
T for total variation, which is linear in them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.losses.terms import soft_rows

# Least variance of a row of logits that is divided by its root; a constant row stays at 0, value and gradient.
_LEAST_VARIANCE = 1e-14


def reverse_rows(student: Tensor, teacher: Tensor, temperature: float, mask: Tensor | None = None) -> Tensor:
    """T² · KL(softmax(student/T) ‖ softmax(teacher/T)), summed over classes.

    Args:
        student: logits (rows, classes), float.
        teacher: logits (rows, classes).
        temperature: T > 0.
        mask: (rows, classes), true where a class exists; the others are −∞ in both distributions.
    """
    log_s, log_t = _log_probabilities(student, teacher, temperature, mask)
    return temperature**2 * _divergence(log_s, log_t)


def jensen_shannon_rows(student: Tensor, teacher: Tensor, temperature: float, mask: Tensor | None = None) -> Tensor:
    """T² · (KL(p_t ‖ m) + KL(p_s ‖ m)) / 2 with m = (p_s + p_t) / 2, p = softmax(z/T), summed over classes.

    Args: as for `reverse_rows`.
    """
    log_s, log_t = _log_probabilities(student, teacher, temperature, mask)
    middle = torch.logaddexp(log_s, log_t) - math.log(2.0)
    both = _divergence(log_t, middle) + _divergence(log_s, middle)
    return temperature**2 * both / 2


def total_variation_rows(student: Tensor, teacher: Tensor, temperature: float, mask: Tensor | None = None) -> Tensor:
    """T · ½ Σ |softmax(student/T) − softmax(teacher/T)| over classes.

    Args: as for `reverse_rows`.
    """
    log_s, log_t = _log_probabilities(student, teacher, temperature, mask)
    return temperature * (log_s.exp() - log_t.exp()).abs().sum(-1) / 2


def squared_rows(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """(student − teacher)², mean over the classes that exist (Kim et al. 2021, arXiv 2105.08919: squared logits).

    Args: as for `reverse_rows`.
    """
    squared = (student.float() - teacher.detach().float()).square()
    if mask is None:
        return squared.mean(-1)
    return squared.masked_fill(~mask, 0.0).sum(-1) / mask.sum(-1)


def decoupled_rows(
    student: Tensor,
    teacher: Tensor,
    gold: Tensor,
    temperature: float,
    alpha: float,
    beta: float,
    mask: Tensor | None = None,
) -> Tensor:
    """T² · (α · KL(gold against the rest) + β · KL(rest, given that it is not the gold class)), p = softmax(z/T).

    Decoupled distillation (Zhao et al. 2022, arXiv 2203.08679, eq. 7). KL(teacher ‖ student) itself is α = 1 and β =
    1 − p_t(gold), row by row.

    Args:
        student: logits (rows, classes), float.
        teacher: logits (rows, classes).
        gold: (rows,), int64; the loss of a row whose gold class does not exist is 0.
        temperature: T > 0.
        alpha, beta: weights of the two parts.
        mask: (rows, classes), true where a class exists.
    """
    known, gold = gold_classes(gold, student, mask)
    gold = gold.unsqueeze(-1)
    exists = torch.ones_like(student, dtype=torch.bool) if mask is None else mask
    rest = exists.scatter(-1, gold, False)
    first = [_against_rest(logits.float() / temperature, gold, rest) for logits in (student, teacher.detach())]
    binary = soft_rows(first[0], first[1], 1.0)
    others = soft_rows(student / temperature, teacher / temperature, 1.0, rest)
    return torch.where(known, temperature**2 * (alpha * binary + beta * others), 0.0)


def standardized(logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """Logits less their mean, divided by their standard deviation over the classes of a row (unbiased), float32.

    Logit standardization (Sun et al. 2024, arXiv 2403.01427). A row whose logits are all equal becomes 0.

    Args:
        logits: (rows, classes), float.
        mask: (rows, classes), true where a class exists; the result is 0 at the others.
    """
    logits = logits.float()
    exists = torch.ones_like(logits, dtype=torch.bool) if mask is None else mask
    count = exists.sum(-1, keepdim=True)
    centred = logits - logits.masked_fill(~exists, 0.0).sum(-1, keepdim=True) / count
    centred = centred.masked_fill(~exists, 0.0)
    variance = centred.square().sum(-1, keepdim=True) / (count - 1).clamp(min=1)
    return centred / variance.clamp(min=_LEAST_VARIANCE).sqrt()


def gold_classes(gold: Tensor, logits: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(whether a row's gold class exists, bool (rows,); the gold classes with those that do not replaced, (rows,)).

    Args:
        gold: (rows,), int64, any values.
        logits: (rows, classes).
        mask: (rows, classes), true where a class exists.
    """
    inside = gold.clamp(0, logits.shape[-1] - 1)
    known = gold == inside
    if mask is not None:
        known = known & mask.gather(-1, inside.unsqueeze(-1)).squeeze(-1)
    return known, inside


def _log_probabilities(
    student: Tensor, teacher: Tensor, temperature: float, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of student and teacher; 0 on both sides for classes that do not exist."""
    logits = [side.float() / temperature for side in (student, teacher.detach())]
    if mask is None:
        log_s, log_t = (F.log_softmax(side, -1) for side in logits)
    else:
        # Replaced afterwards too: the gradient of what is calculated with −∞ would be nan.
        log_s, log_t = (
            F.log_softmax(side.masked_fill(~mask, -torch.inf), -1).masked_fill(~mask, 0.0) for side in logits
        )
    return log_s, log_t


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p ‖ q), summed over classes; equal values on both sides add nothing."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def _against_rest(logits: Tensor, gold: Tensor, rest: Tensor) -> Tensor:
    """Two logits a row, (rows, 2): the gold class's, and that of all others together."""
    others = torch.logsumexp(logits.masked_fill(~rest, -torch.inf), -1, keepdim=True)
    return torch.cat((logits.gather(-1, gold), others), -1)
