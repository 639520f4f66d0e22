"""Divergences against their formulas in float64, in value and gradient, and what cannot be a number."""

import math

import pytest
import torch

from distill.losses import divergences as d
from distill.losses.terms import soft_rows


def shares(logits):
    return logits.exp() / logits.exp().sum()


def kl(p, q):
    return sum(a * (a / b).log() for a, b in zip(p, q, strict=True))


def binary(p, gold):
    return torch.stack((p[gold], sum(value for place, value in enumerate(p) if place != gold)))


def rest(p, gold):
    others = torch.stack([value for place, value in enumerate(p) if place != gold])
    return others / others.sum()


def z_scores(logits):
    mean = logits.sum() / len(logits)
    return (logits - mean) / (((logits - mean) ** 2).sum() / (len(logits) - 1)).sqrt()


GOLD = [2, 0, 1]
#: Of one row's logits (student, teacher), its gold class and T.
FORMULAS = {
    "reverse": lambda s, t, gold, T: T * T * kl(shares(s / T), shares(t / T)),
    "js": lambda s, t, gold, T: T * T * (kl(shares(t / T), m(s, t, T)) + kl(shares(s / T), m(s, t, T))) / 2,
    "tv": lambda s, t, gold, T: T * sum((a - b).abs() for a, b in zip(shares(s / T), shares(t / T), strict=True)) / 2,
    "mse": lambda s, t, gold, T: ((s - t) ** 2).sum() / len(s),
    "decoupled": lambda s, t, gold, T: (
        T * T * kl(binary(shares(t / T), gold), binary(shares(s / T), gold))
        + 8 * T * T * kl(rest(shares(t / T), gold), rest(shares(s / T), gold))
    ),
    "standardized": lambda s, t, gold, T: ((z_scores(s) - z_scores(t)) ** 2).sum(),
}


def m(s, t, temperature):
    return (shares(s / temperature) + shares(t / temperature)) / 2


def of(name, student, teacher, temperature, mask):
    gold = torch.tensor(GOLD)
    return {
        "reverse": lambda: d.reverse_rows(student, teacher, temperature, mask),
        "js": lambda: d.jensen_shannon_rows(student, teacher, temperature, mask),
        "tv": lambda: d.total_variation_rows(student, teacher, temperature, mask),
        "mse": lambda: d.squared_rows(student, teacher, mask),
        "decoupled": lambda: d.decoupled_rows(student, teacher, gold, temperature, 1, 8, mask),
        "standardized": lambda: (
            (d.standardized(student, mask) - d.standardized(teacher.detach(), mask)).square().sum(-1)
        ),
    }[name]()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", FORMULAS)
def test_value_and_gradient_are_the_formula_over_the_classes_that_exist(name, masked):
    draw = torch.Generator().manual_seed(1)
    student, teacher = (3 * torch.randn(3, 6, generator=draw) for _ in range(2))
    lengths = [6, 3, 5] if masked else [6, 6, 6]
    mask = torch.tensor([[True] * n + [False] * (6 - n) for n in lengths]) if masked else None
    own, own64 = student.clone().requires_grad_(), student.double().requires_grad_()
    other = teacher.clone().requires_grad_()
    rows = of(name, own, other, 2.5, mask)
    expected = torch.stack(
        [FORMULAS[name](own64[i, :n], teacher[i, :n].double(), GOLD[i], 2.5) for i, n in enumerate(lengths)]
    )
    torch.testing.assert_close(rows.double(), expected, rtol=2e-5, atol=1e-6)
    weights = torch.tensor([0.3, 1.0, 2.0])
    (weights * rows).sum().backward()
    (weights * expected).sum().backward()
    torch.testing.assert_close(own.grad.double(), own64.grad, rtol=1e-4, atol=1e-6)
    assert other.grad is None


@pytest.mark.parametrize("name", [name for name in FORMULAS if name != "standardized"])
def test_equal_logits_are_at_no_distance_and_far_ones_give_numbers(name):
    same = torch.tensor([[1.0, -2.0, 4.0]] * 3)
    torch.testing.assert_close(of(name, same, same.clone(), 2.0, None), torch.zeros(3), rtol=0, atol=1e-6)
    far = torch.tensor([[80.0, -80.0, 0.0]] * 3, requires_grad=True)
    rows = of(name, far, -far.detach(), 1.0, None)
    rows.sum().backward()
    assert torch.isfinite(rows).all() and torch.isfinite(far.grad).all()


def test_bounds_of_the_symmetric_ones():
    far = torch.tensor([[60.0, 0.0, 0.0]])
    assert d.jensen_shannon_rows(far, -far, 1.0).item() == pytest.approx(math.log(2), rel=1e-3)
    assert d.total_variation_rows(far, -far, 1.0).item() == pytest.approx(1, rel=1e-6)


def test_the_decoupled_parts_make_up_the_forward_divergence():
    draw = torch.Generator().manual_seed(2)
    student, teacher = torch.randn(1, 5, generator=draw), torch.randn(1, 5, generator=draw)
    left = 1 - torch.softmax(teacher / 2, -1)[0, 3].item()
    parts = d.decoupled_rows(student, teacher, torch.tensor([3]), 2.0, 1, left)
    torch.testing.assert_close(parts, soft_rows(student, teacher, 2.0))


def test_a_row_without_a_gold_class_adds_nothing_and_has_no_gradient():
    student = torch.randn(3, 4, requires_grad=True)
    mask = torch.tensor([[True] * 4, [True] * 4, [True, True, True, False]])
    rows = d.decoupled_rows(student, torch.randn(3, 4), torch.tensor([1, -100, 3]), 2.0, 1, 8, mask)
    rows.sum().backward()
    assert rows[0] > 0 and rows[1:].tolist() == [0, 0]
    assert student.grad[0].any() and not student.grad[1:].any()


def test_standardized_rows_of_two_classes_and_of_equal_logits():
    logits = torch.tensor([[3.0, -1.0], [0.2, 0.1], [5.0, 5.0]], requires_grad=True)
    scores = d.standardized(logits)
    half = 0.5**0.5
    torch.testing.assert_close(scores, torch.tensor([[half, -half], [half, -half], [0.0, 0.0]]), rtol=1e-5, atol=0)
    scores.square().sum().backward()
    assert torch.isfinite(logits.grad).all()
