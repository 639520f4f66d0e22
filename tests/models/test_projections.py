"""Maps between widths: trained where widths differ, absent where they do not."""

import torch

from distill.models.projections import lifts


def test_different_widths_get_a_linear_map_each():
    maps = lifts(4, 6, 3)
    assert [tuple(p.shape) for p in maps.parameters()] == [(6, 4)] * 3
    state = torch.randn(2, 5, 4)
    assert torch.equal(maps[1](state), state @ maps[1].weight.T)
    assert not torch.equal(maps[0].weight, maps[1].weight)


def test_equal_widths_get_none():
    maps = lifts(6, 6, 3)
    state = torch.randn(2, 5, 6)
    assert len(maps) == 3 and not list(maps.parameters()) and all(m(state) is state for m in maps)
