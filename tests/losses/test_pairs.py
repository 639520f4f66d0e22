"""Losses over pairs of passages against plain loops in float64: values, gradients, pairs that count."""

import math

import pytest
import torch

from distill.losses import pairs

NAN = math.nan
GRADES = [[1.0, 0.0, 0.0, NAN], [2.0, 1.0, 0.0, 0.0], [NAN, NAN, NAN, NAN], [1.0, 1.0, NAN, NAN], [0.0, NAN, NAN, NAN]]
MASK = [[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]]


def counted(grades, mask):
    """(i, j) with i better; without any label, every pair once."""
    real = [i for i, exists in enumerate(mask) if exists]
    if all(math.isnan(grades[i]) for i in real):
        return [(i, j) for i in real for j in real if i < j]
    return [(i, j) for i in real for j in real if grades[i] > grades[j]]


def bernoulli(own, other, temperature):
    p, q = (1 / (1 + math.exp(-gap / temperature)) for gap in (other, own))
    return temperature**2 * (p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)))


@pytest.mark.parametrize("name", ["margin_mse", "pairwise"])
def test_losses_and_gradients_are_those_of_loops(name):
    generator = torch.Generator().manual_seed(0)
    student, teacher = (2 * torch.randn(5, 4, generator=generator) for _ in range(2))
    # What stands where no passage is may not matter.
    mask, grades = torch.tensor(MASK, dtype=torch.bool), torch.tensor(GRADES)
    student, teacher = student.masked_fill(~mask, 1e4), teacher.masked_fill(~mask, -1e4)
    student.requires_grad_()
    further = () if name == "margin_mse" else (3.0,)
    losses, known = getattr(pairs, name)(student, teacher, grades, mask, *further)
    assert known.tolist() == [True, True, True, False, False]
    losses.sum().backward()

    def value(scores):
        total = []
        for own, other, labels, exists in zip(scores, teacher.double().tolist(), GRADES, MASK, strict=True):
            gaps = [(own[i] - own[j], other[i] - other[j]) for i, j in counted(labels, exists)]
            each = [(a - b) ** 2 if name == "margin_mse" else bernoulli(a, b, 3.0) for a, b in gaps]
            total.append(sum(each) / len(each) if each else 0.0)
        return total

    scores = student.detach().double().tolist()
    assert losses.tolist() == pytest.approx(value(scores), rel=1e-5)
    for group, place in ((0, 0), (0, 2), (1, 1), (2, 1), (3, 0)):
        near = []
        for step in (1e-4, -1e-4):
            moved = [list(row) for row in scores]
            moved[group][place] += step
            near.append(sum(value(moved)))
        assert student.grad[group, place].item() == pytest.approx((near[0] - near[1]) / 2e-4, rel=1e-4, abs=1e-6)
    assert student.grad[~mask].abs().max() == 0


def test_what_only_lifts_all_scores_costs_nothing():
    scores, mask = torch.tensor([[1.0, 3.0, 2.0]]), torch.ones(1, 3, dtype=torch.bool)
    grades = torch.full((1, 3), NAN)
    for loss in (pairs.margin_mse, lambda *given: pairs.pairwise(*given, 2.0)):
        assert loss(scores + 7, scores, grades, mask)[0].item() == pytest.approx(0.0, abs=1e-6)
        assert loss(-scores, scores, grades, mask)[0].item() > 0.1
