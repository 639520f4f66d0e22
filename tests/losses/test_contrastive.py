"""Contrast of two models' vectors against its formula, row by row in float64."""

import torch

from distill.losses.contrastive import contrast, mean_states


def test_the_contrast_is_the_formula_in_value_and_gradient():
    draw = torch.Generator().manual_seed(0)
    sides = [torch.randn(4, 5, generator=draw, requires_grad=True) for _ in range(2)]
    doubles = [side.detach().double().requires_grad_() for side in sides]
    found = contrast(*sides, 0.3)
    found.backward()

    student, teacher = doubles
    total = 0.0
    for own in range(4):
        similar = [student[own] @ other / student[own].norm() / other.norm() / 0.3 for other in teacher]
        total = total - similar[own] + torch.stack(similar).exp().sum().log()
    (total / 4).backward()
    torch.testing.assert_close(found.double(), total / 4, rtol=1e-5, atol=0)
    for side, double in zip(sides, doubles, strict=True):
        torch.testing.assert_close(side.grad.double(), double.grad, rtol=1e-4, atol=1e-6)
    assert contrast(sides[0][:1], sides[1][:1], 0.3) == 0
    torch.testing.assert_close(contrast(torch.ones(4, 3), torch.ones(4, 3), 0.5), torch.tensor(4.0).log())


def test_padding_has_no_share_in_the_mean_even_where_it_is_not_a_number():
    states, mask = torch.randn(2, 4, 3), torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    states[0, 3] = states[1, 1:] = torch.nan
    expected = torch.stack([states[0, :3].mean(0), states[1, 0]])
    torch.testing.assert_close(mean_states(states, mask), expected)
