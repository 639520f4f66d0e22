"""Relations and attention against their formulas in float64, row by row over the real tokens."""

import pytest
import torch

from distill.losses.relations import attention_divergence, relation_divergence

LENGTHS = [6, 4]
MASK = torch.tensor([[True] * n + [False] * (6 - n) for n in LENGTHS])


def shares(scores):
    odds = scores.exp()
    return odds / odds.sum(-1, keepdim=True)


def kl(p, q):
    return (p * (p / q).log()).sum()


def by_hand(student, teacher, heads):
    total = 0.0
    for row, n in enumerate(LENGTHS):
        for h in range(heads):
            p, q = (
                shares(x @ x.T / x.shape[1] ** 0.5)
                for side in (teacher, student)
                for x in [side[row, :n, h * side.shape[-1] // heads : (h + 1) * side.shape[-1] // heads]]
            )
            total = total + kl(p, q)
    return total / (heads * sum(LENGTHS))


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_relations_in_value_and_gradient(heads):
    draw = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(2, 6, width, generator=draw) for width in (8, 12))
    own, own64, other = student.clone().requires_grad_(), student.double().requires_grad_(), teacher.requires_grad_()
    loss = relation_divergence(own, other, heads, MASK)
    expected = by_hand(own64, teacher.detach().double(), heads)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-7)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(own.grad.double(), own64.grad, rtol=1e-4, atol=1e-6)
    assert other.grad is None and not own.grad[1, 4:].any()


@pytest.mark.parametrize("average", [False, True])
def test_attention_in_value_and_gradient(average):
    draw = torch.Generator().manual_seed(2)
    heads = (3, 2) if average else (2, 2)
    student, teacher = (2 * torch.randn(2, count, 6, 6, generator=draw) for count in heads)
    own, own64, other = student.clone().requires_grad_(), student.double().requires_grad_(), teacher.requires_grad_()
    loss = attention_divergence(own, other, MASK, average)
    total = 0.0
    for row, n in enumerate(LENGTHS):
        p, q = (shares(side[row, :, :n, :n]) for side in (teacher.detach().double(), own64))
        pairs = [(p.sum(0) / 2, q.sum(0) / 3)] if average else list(zip(p, q, strict=True))
        total = total + sum(kl(*both) for both in pairs) / len(pairs)
    expected = total / sum(LENGTHS)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-7)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(own.grad.double(), own64.grad, rtol=1e-4, atol=1e-6)
    assert other.grad is None


@pytest.mark.parametrize("average", [False, True])
def test_what_a_model_masks_for_itself_gives_numbers(average):
    """A window of the student's attention, and rows of padding that have nothing to attend to."""
    student, teacher = torch.zeros(2, 2, 6, 6), torch.randn(2, 2, 6, 6)
    student[:, :, 0, 2:] = torch.finfo(torch.float32).min
    student[1, :, 4:] = -torch.inf
    teacher[1, :, :, 4:] = -torch.inf
    student.requires_grad_()
    loss = attention_divergence(student, teacher, MASK, average)
    loss.backward()
    assert 0 < loss.item() < 200 and torch.isfinite(student.grad).all()


def test_equal_sides_are_at_no_distance_under_half_precision_too():
    states = torch.randn(2, 6, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert relation_divergence(states.bfloat16(), states.bfloat16(), 2, MASK).item() == 0
        assert relation_divergence(states, -2 * states, 2, MASK).dtype == torch.float32
