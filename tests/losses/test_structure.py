"""Cosines and angles against their definition in float64, triple by triple."""

import itertools

import pytest
import torch

from distill.losses.structure import angle_gap, cosine_gap

LENGTHS = [7, 4, 1]
MASK = torch.tensor([[True] * n + [False] * (7 - n) for n in LENGTHS])


def unit(vector):
    return vector / (vector * vector).sum().sqrt()


def cosines(student, teacher):
    gaps = []
    for row, n in enumerate(LENGTHS):
        for i, j in itertools.permutations(range(n), 2):
            own, other = ((unit(side[row, i]) * unit(side[row, j])).sum() for side in (student, teacher))
            gaps.append((own - other) ** 2)
    return sum(gaps) / len(gaps)


def angles(student, teacher, reach):
    gaps = []
    for row, n in enumerate(LENGTHS):
        for j in range(n):
            near = [i for i in range(n) if i != j and abs(i - j) <= reach]
            for i, k in itertools.combinations(near, 2):
                own, other = (
                    (unit(side[row, i] - side[row, j]) * unit(side[row, k] - side[row, j])).sum()
                    for side in (student, teacher)
                )
                gaps.append((own - other) ** 2)
    return sum(gaps) / len(gaps)


def drawn(shift=0.0):
    draw = torch.Generator().manual_seed(3)
    return [torch.randn(3, 7, width, generator=draw) + shift for width in (5, 9)]


CASES = {
    "cosines": (cosine_gap, cosines),
    "angles": (lambda s, t, m: angle_gap(s, t, m, 10), lambda s, t: angles(s, t, 10)),
    "window": (lambda s, t, m: angle_gap(s, t, m, 2), lambda s, t: angles(s, t, 2)),
}


@pytest.mark.parametrize("shift", [0.0, 6.0])  # far from the origin, where float32 has fewer digits left
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_the_definition_over_the_points_that_count(name, shift):
    of, by_hand = CASES[name]
    student, teacher = drawn(shift)
    own, own64, other = student.clone().requires_grad_(), student.double().requires_grad_(), teacher.requires_grad_()
    loss, expected = of(own, other, MASK), by_hand(own64, teacher.detach().double())
    torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=1e-7)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(own.grad.double(), own64.grad, rtol=1e-3, atol=1e-5 * own64.grad.abs().max().item())
    assert other.grad is None and not own.grad[~MASK].any()


@pytest.mark.parametrize("name", CASES)
def test_points_that_do_not_count_may_hold_anything(name):
    of, _ = CASES[name]
    student, teacher = drawn()
    expected = of(student, teacher, MASK)
    for side in (student, teacher):
        side[~MASK] = 1e4
    torch.testing.assert_close(of(student, teacher, MASK), expected)
    more = [torch.nn.functional.pad(side, (0, 0, 0, 4), value=-7.0) for side in (student, teacher)]
    torch.testing.assert_close(of(*more, torch.nn.functional.pad(MASK, (0, 4))), expected)


@pytest.mark.parametrize("name", CASES)
def test_a_rotation_and_a_scale_of_one_side_change_nothing(name):
    of, _ = CASES[name]
    student, _ = drawn()
    turn = torch.linalg.qr(torch.randn(5, 5)).Q
    assert of(3 * student @ turn, student, MASK).item() < 1e-9


def test_equal_points_give_numbers_on_both_sides():
    for equal in (0, 1):
        sides = drawn()
        sides[equal][0, 2] = sides[equal][0, 4]
        own = sides[0].requires_grad_()
        loss = angle_gap(own, sides[1], MASK, 10)
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(own.grad).all()
    same = torch.ones(1, 4, 3, requires_grad=True)
    loss = angle_gap(same, torch.randn(1, 4, 3), torch.ones(1, 4, dtype=torch.bool), 10)
    loss.backward()
    assert loss.item() == 0 and not same.grad.any()


def test_without_pairs_or_triples_there_is_no_distance():
    single, pair = torch.randn(2, 1, 4, requires_grad=True), torch.randn(2, 2, 4)
    for loss in (
        cosine_gap(single, torch.randn(2, 1, 3), torch.ones(2, 1, dtype=torch.bool)),
        angle_gap(single, torch.randn(2, 1, 3), torch.ones(2, 1, dtype=torch.bool), 10),
        angle_gap(pair, torch.randn(2, 2, 3), torch.ones(2, 2, dtype=torch.bool), 10),
    ):
        assert loss.item() == 0


def test_half_precision_is_not_used():
    student, teacher = drawn()
    with torch.autocast("cpu", torch.bfloat16):
        found = [of(student, teacher, MASK) for of, _ in CASES.values()]
    for value, (of, _) in zip(found, CASES.values(), strict=True):
        assert value.dtype == torch.float32 and torch.equal(value, of(student, teacher, MASK))
