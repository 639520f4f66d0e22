"""Every loss against its formula, written out row by row in float64 over the real classes or tokens alone."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.losses.terms import cross_entropy, mse_cls, mse_tok, soft

LENGTHS = (6, 3, 8)
CLASSES = 8


def draw(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape) * 3).float().requires_grad_()


def mask_of(lengths, width):
    return torch.arange(width) < torch.tensor(lengths)[:, None]


def softmax(values):
    shifted = [math.exp(v - max(values)) for v in values]
    return [s / sum(shifted) for s in shifted]


def agree(value, expected, rtol=1e-5, atol=1e-6):
    torch.testing.assert_close(
        torch.as_tensor(value).double(), torch.as_tensor(expected, dtype=torch.float64), rtol=rtol, atol=atol
    )


def soft_by_hand(student, teacher, t, lengths):
    """Value, and gradient T · (p_s − p_t) / rows, of T² Σ p_t (log p_t − log p_s)."""
    value, gradient = 0.0, torch.zeros(student.shape, dtype=torch.float64)
    for row, length in enumerate(lengths):
        p = softmax([x / t for x in teacher[row, :length].tolist()])
        q = softmax([x / t for x in student[row, :length].tolist()])
        value += t * t * sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True)) / len(lengths)
        gradient[row, :length] = torch.tensor([t * (b - a) / len(lengths) for a, b in zip(p, q, strict=True)])
    return value, gradient


@pytest.mark.parametrize("temperature", [1.0, 2.0, 7.5])
@pytest.mark.parametrize("lengths", [LENGTHS, (CLASSES,) * 3, (1, 2, CLASSES)])
def test_soft_is_the_formula_in_value_and_gradient(temperature, lengths):
    student, teacher = draw(0, 3, CLASSES), draw(1, 3, CLASSES)
    mask = None if lengths == (CLASSES,) * 3 else mask_of(lengths, CLASSES)
    value = soft(student, teacher, temperature, mask)
    value.backward()
    expected, gradient = soft_by_hand(student.detach(), teacher.detach(), temperature, lengths)
    agree(value, expected)
    agree(student.grad, gradient)
    assert teacher.grad is None


def test_soft_is_zero_between_equals_and_positive_otherwise():
    logits = draw(2, 4, 5)
    agree(soft(logits, logits.detach().clone(), 2.0), 0.0)
    assert soft(logits, draw(3, 4, 5), 2.0) > 0


def test_soft_ignores_what_stands_at_masked_positions():
    student, teacher = draw(0, 3, CLASSES).detach(), draw(1, 3, CLASSES).detach()
    mask = mask_of(LENGTHS, CLASSES)
    clean = soft(student, teacher, 2.0, mask)
    for poison in (1e4, -1e4, math.inf, -math.inf, math.nan):
        dirty = soft(student.masked_fill(~mask, poison), teacher.masked_fill(~mask, -poison), 2.0, mask)
        assert torch.equal(clean, dirty)


def test_soft_computes_in_float32_whatever_comes_in():
    student, teacher = draw(0, 3, CLASSES).detach(), draw(1, 3, CLASSES).detach()
    value = soft(student.bfloat16(), teacher.bfloat16(), 2.0)
    assert value.dtype == torch.float32
    agree(value, soft_by_hand(student.bfloat16(), teacher.bfloat16(), 2.0, (CLASSES,) * 3)[0])


def test_mse_tok_is_the_formula_in_value_and_gradient():
    student, teacher = draw(0, 3, 8, 5), draw(1, 3, 8, 5)
    value = mse_tok(student, teacher, mask_of(LENGTHS, 8))
    value.backward()
    a, b = student.detach().double().numpy(), teacher.detach().double().numpy()
    count = sum(LENGTHS) * 5
    gaps = [a[row, :length] - b[row, :length] for row, length in enumerate(LENGTHS)]
    agree(value, sum((gap**2).sum() for gap in gaps) / count)
    gradient = np.zeros_like(a)
    for row, length in enumerate(LENGTHS):
        gradient[row, :length] = 2 * gaps[row] / count
    agree(student.grad, torch.from_numpy(gradient))
    assert teacher.grad is None


def test_mse_tok_without_mask_is_the_mean_over_padding_too():
    student, teacher = draw(0, 3, 8, 5), draw(1, 3, 8, 5)
    a, b = student.detach().double().numpy(), teacher.detach().double().numpy()
    agree(mse_tok(student, teacher, None), ((a - b) ** 2).sum() / (3 * 8 * 5))


def test_mse_cls_is_the_formula_in_value_and_gradient():
    student, teacher = draw(0, 3, 8, 5), draw(1, 3, 8, 5)
    value = mse_cls(student, teacher)
    value.backward()
    a = student.detach().double()[:, 0].requires_grad_()
    b = teacher.detach().double()[:, 0]
    expected = sum(
        ((x / (x * x).sum().sqrt() - y / (y * y).sum().sqrt()) ** 2).sum() for x, y in zip(a, b, strict=True)
    ) / (3 * 5)
    expected.backward()
    agree(value, expected.detach())
    agree(student.grad[:, 0], a.grad)
    assert not student.grad[:, 1:].any() and teacher.grad is None
    agree(mse_cls(student[:, 0], teacher[:, 0]), expected.detach())


def test_mse_cls_never_passes_four_over_the_width():
    state = torch.randn(6, 3, 16)
    agree(mse_cls(state, -state), 4 / 16)


def cross_entropy_by_hand(logits, target, lengths, smoothing):
    """Value and gradient, (p − y) / rows with y the smoothed target, over the rows with a class."""
    rows = [row for row, length in enumerate(lengths) if 0 <= target[row] < length]
    value, gradient = 0.0, torch.zeros(logits.shape, dtype=torch.float64)
    for row in rows:
        p = softmax(logits[row, : lengths[row]].tolist())
        y = [smoothing / len(p)] * len(p)
        y[target[row]] += 1 - smoothing
        value -= sum(b * math.log(a) for a, b in zip(p, y, strict=True)) / len(rows)
        gradient[row, : lengths[row]] = torch.tensor([(a - b) / len(rows) for a, b in zip(p, y, strict=True)])
    return value, gradient


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("target", [(0, 2, 7), (5, -100, 1), (0, 0, 0), (-1, 2, CLASSES), (3, 9, 2**40)])
def test_cross_entropy_is_the_formula_in_value_and_gradient(target, smoothing):
    logits = draw(0, 3, CLASSES)
    value = cross_entropy(logits, torch.tensor(target), mask_of(LENGTHS, CLASSES), smoothing)
    value.backward()
    expected, gradient = cross_entropy_by_hand(logits.detach(), target, LENGTHS, smoothing)
    agree(value, expected)
    agree(logits.grad, gradient)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_without_mask(smoothing):
    logits, target = draw(0, 3, CLASSES), (1, 4, 7)
    value = cross_entropy(logits, torch.tensor(target), None, smoothing)
    value.backward()
    expected, gradient = cross_entropy_by_hand(logits.detach(), target, (CLASSES,) * 3, smoothing)
    agree(value, expected)
    agree(logits.grad, gradient)


def test_cross_entropy_of_ignored_rows_alone_is_zero_without_nan_gradients():
    logits = draw(0, 3, CLASSES)
    value = cross_entropy(logits, torch.tensor((-1, 99, -100)), mask_of(LENGTHS, CLASSES), 0.1)
    value.backward()
    assert value == 0 and not logits.grad.any()


def test_a_target_in_the_padding_is_outside_the_window_however_wide_the_padding_is():
    logits, target = draw(0, 3, CLASSES), (1, 6, 0)  # row 1 has 3 classes
    value = cross_entropy(logits, torch.tensor(target), mask_of(LENGTHS, CLASSES))
    value.backward()
    expected, gradient = cross_entropy_by_hand(logits.detach(), target, LENGTHS, 0.0)
    agree(value, expected)
    agree(logits.grad, gradient)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    more=st.integers(0, 9),
    seed=st.integers(0, 2**32 - 1),
    temperature=st.floats(0.5, 20),
)
def test_more_padding_changes_neither_value_nor_gradient_and_makes_no_nan(lengths, more, seed, temperature):
    rows, width = len(lengths), max(lengths)
    values = np.random.default_rng(seed).normal(size=(3, rows, width + more, 4)) * 10
    target = torch.tensor([seed % length for length in lengths])

    def results(size):
        student, teacher = (torch.from_numpy(values[i, :, :size]).float().requires_grad_() for i in (0, 1))
        mask = mask_of(lengths, size)
        terms = torch.stack(
            [
                soft(student[..., 0], teacher[..., 0], temperature, mask),
                mse_tok(student, teacher, mask),
                mse_cls(student, teacher),
                cross_entropy(student[..., 1], target, mask),
                cross_entropy(student[..., 2], target, mask, smoothing=0.2),
            ]
        )
        terms.sum().backward()
        assert teacher.grad is None
        return terms.detach(), student.grad

    terms, gradient = results(width)
    wider, wider_gradient = results(width + more)
    assert terms.isfinite().all() and wider_gradient.isfinite().all()
    # T² is up to 400 times the rounding of a small divergence.
    torch.testing.assert_close(wider, terms, rtol=5e-5, atol=1e-6)
    torch.testing.assert_close(wider_gradient[:, :width], gradient, rtol=1e-4, atol=1e-6)
    assert not wider_gradient[:, width:].any()
