"""Sizes that can be built, positions that a model has, and configurations of fewer layers."""

import pytest

from distill.errors import UserError
from distill.models.shape import check_sizes, positions, with_layers
from distill.tasks.registry import load_task
from tests.helpers import families

TASK = load_task("classification", labels=("a", "b"))


@pytest.mark.parametrize(
    ("family", "name", "value"),
    [
        ("bert", "num_hidden_layers", -3),
        ("bert", "vocab_size", 0),
        ("distilbert", "n_layers", -1),
        ("xlnet", "d_model", 0),
        ("electra", "embedding_size", -4),
        ("eurobert", "num_key_value_heads", 0),
    ],
)
def test_sizes_below_one_are_refused(family, name, value):
    config = families.config(family)
    check_sizes(config, "x", "y")
    object.__setattr__(config, name, value)
    with pytest.raises(UserError, match=rf"^x: \w+ is {value}: give a whole number from 1 on: y$"):
        check_sizes(config, "x", "y")


@pytest.mark.parametrize("family", families.SHAPES)
def test_every_familys_tiny_configuration_passes(family):
    check_sizes(families.config(family), "x", "y")


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("bert", 136), ("roberta", 139), ("mpnet", 138), ("longformer", 139), ("ibert", 139), ("data2vec-text", 139),
        ("distilbert", 136), ("modernbert", 136), ("xlnet", None), ("deberta-v2", 136),
    ],
)  # fmt: skip
def test_positions_begin_behind_the_paddings(family, expected):
    """The padding's id is 0 here; MPNet has its own rule, which begins at 2."""
    assert positions(families.model(family, TASK)) == expected


def test_layers_keep_their_own_kinds():
    modern = families.config("modernbert", num_hidden_layers=6, layer_types=None, global_attn_every_n_layers=3)
    kinds = modern.layer_types
    assert len(kinds) == 6 and len(set(kinds)) == 2
    shorter = with_layers(modern, [1, 4, 6], {})
    assert shorter.num_hidden_layers == 3 and shorter.layer_types == [kinds[0], kinds[3], kinds[5]]
    long = families.config("longformer", num_hidden_layers=3, attention_window=[8, 16, 32])
    assert with_layers(long, [3, 1], {}).attention_window == [32, 8]
    assert with_layers(long, [3, 1], {"attention_window": [4, 4]}).attention_window == [4, 4]
    assert long.attention_window == [8, 16, 32] and modern.layer_types == kinds
    deberta = families.config("deberta-v2")  # as many entries as layers, but none for each layer
    assert with_layers(deberta, [2], {}).pos_att_type == deberta.pos_att_type
