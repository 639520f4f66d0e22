"""Sizes that a section `model` gives: whole numbers within reason, whatever family of models they are for."""

from __future__ import annotations

from typing import Any

#: Names that transformers' families use for numbers of layers and heads, and the most that is taken for one.
LAYERS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer", "num_attention_heads", "num_heads", "n_heads")
MOST_LAYERS = 1_000
#: Families whose configuration says a head's size apart from the number of heads, so that heads can be left out.
FEWER_HEADS = ("eurobert", "nomic_bert", "jina_embeddings_v3")


def is_size(value: object) -> bool:
    """Whether a value is a whole number from 1 on. A bool is an int to Python, and no size."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def check(config: dict[str, Any]) -> dict[str, Any]:
    """The fields as they are; raises ValueError where a number of layers or heads cannot be one."""
    for name in LAYERS:
        value = config.get(name, 1)
        if not is_size(value) or value > MOST_LAYERS:
            raise ValueError(f"{name}: {str(value)[:50]!r}: expected a whole number from 1 to {MOST_LAYERS}")
    return config
