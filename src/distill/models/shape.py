"""A model's shape as its configuration states it: sizes that can be built, positions, and fewer layers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distill.config.model_shape import is_size
from distill.errors import UserError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

#: Sizes that a model has at least one of; transformers builds a model without layers from a negative number.
SIZES = (
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "embedding_size",
    "vocab_size",
)
#: Fields with an entry for each layer.
PER_LAYER = ("layer_types", "mlp_layer_types", "attention_window")
#: Fields that a family needs to give a row the same logits in every batch, where the user states no other value.
#: BigBird attends to blocks of words in long batches and to all words once it has met a short one.
FAMILY_FIELDS = {"big_bird": {"attention_type": "original_full"}}


def num_layers(config: PretrainedConfig) -> int:
    """Number of transformer layers."""
    return config.num_hidden_layers


def check_sizes(config: PretrainedConfig, field: str, fix: str) -> None:
    """Raise a UserError where a size is no whole number from 1 on.

    Args:
        field: the file or parameter at fault, for the message.
        fix: what the user can do, for the message.
    """
    for name in SIZES:
        size = getattr(config, name, None)
        for value in size if isinstance(size, (list, tuple)) else [size]:  # some fields hold one number per layer
            if value is not None and not is_size(value):
                raise UserError(f"{field}: {name} is {value!r}: give a whole number from 1 on: {fix}")


def with_layers(config: PretrainedConfig, layers: Sequence[int], fields: Mapping[str, Any]) -> PretrainedConfig:
    """The configuration of a model made of some layers (from 1), each of its own kind (ModernBERT's `layer_types`).

    Args:
        fields: further fields, which win.

    Raises:
        Exception: whatever the configuration's class objects to.
    """
    changed: dict[str, Any] = {"num_hidden_layers": len(layers)}
    for name in PER_LAYER:
        values = getattr(config, name, None)
        if isinstance(values, (list, tuple)) and len(values) == config.num_hidden_layers:
            changed[name] = [values[layer - 1] for layer in layers]
    result = copy.deepcopy(config)
    result.update(changed | dict(fields))
    return result


def positions(model: PreTrainedModel) -> int | None:
    """The longest window that a model has positions for; None where its positions have no end.

    RoBERTa and its relatives (MPNet, Longformer, data2vec …) number positions from behind the padding's on.
    """
    stated = getattr(model.config, "max_position_embeddings", None)
    limit = stated if isinstance(stated, int) and stated > 0 else None
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)  # I-BERT's embeddings are no nn.Embedding
        if name.rpartition(".")[2] == "position_embeddings" and weight is not None:
            padding = getattr(module, "padding_idx", None)
            count = len(weight) - (0 if padding is None else padding + 1)
            limit = count if limit is None else min(limit, count)
    return limit
