"""Pearson's correlation against NumPy's, in value; the gradient in float64; constant sides."""

import numpy as np
import pytest
import torch

from distill.losses.correlation import correlation


def by_hand(a, b):
    a, b = a - a.sum() / len(a), b - b.sum() / len(b)
    return (a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt()


@pytest.mark.parametrize("counted", [False, True])
def test_value_and_gradient(counted):
    draw = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(3, 6, generator=draw) + 2 for _ in range(2))
    lengths = [6, 4, 3] if counted else [6, 6, 6]
    mask = torch.tensor([[True] * n + [False] * (6 - n) for n in lengths]) if counted else None
    own, own64 = student.clone().requires_grad_(), student.double().requires_grad_()
    found = correlation(own, teacher, mask)
    expected = torch.stack([by_hand(own64[i, :n], teacher[i, :n].double()) for i, n in enumerate(lengths)])
    for i, n in enumerate(lengths):
        assert found[i].item() == pytest.approx(np.corrcoef(student[i, :n], teacher[i, :n])[0, 1], abs=1e-5)
    found.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(own.grad.double(), own64.grad, rtol=1e-4, atol=1e-6)


def test_weights_count_rows_as_often():
    a, b = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([3.0, 1.0, 1.5])
    repeated = correlation(a.repeat_interleave(torch.tensor([2, 0, 1])), b.repeat_interleave(torch.tensor([2, 0, 1])))
    torch.testing.assert_close(correlation(a, b, torch.tensor([2.0, 0.0, 1.0])), repeated)


def test_a_constant_side_and_a_single_value_correlate_with_nothing():
    for student in (torch.full((4,), 0.3), torch.randn(4)):
        student.requires_grad_()
        for teacher, weight in ((torch.full((4,), 0.3), None), (torch.randn(4), torch.tensor([0.0, 1.0, 0.0, 0.0]))):
            found = correlation(student, teacher, weight)
            found.backward()
            assert found.item() == pytest.approx(0, abs=1e-5) and torch.isfinite(student.grad).all()
