"""Queries, keys and values of every layer and token, of any architecture, without new model classes.

They are what the layers' projections give, heads one after another: before a rotation by position (ModernBERT,
RoFormer), and before a division by the root of the width (DistilBERT).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from distill.errors import UserError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

#: The names that families give the three projections; all stand in one module.
_NAMES = (
    ("query", "key", "value"),
    ("query_proj", "key_proj", "value_proj"),
    ("q_proj", "k_proj", "v_proj"),
    ("q_lin", "k_lin", "v_lin"),
    ("q", "k", "v"),
)
#: The name of a single projection → whether it holds the three head by head (DeBERTa), or one after another.
_TOGETHER = {"in_proj": True, "Wqkv": False}
_KINDS = ("query", "key", "value")


class QueryKeyValue(NamedTuple):
    """One layer's states: each (B, L, width), where width is that of all heads (of keys and values: theirs)."""

    query: Tensor
    key: Tensor
    value: Tensor


@dataclass(frozen=True)
class _Site:
    """The projections of a module: three, or one that holds all (`together`)."""

    module: nn.Module
    parts: tuple[nn.Module, ...]
    together: str | None


class Collected:
    """Collects what the projections give while the block runs, in the order of the layers; part of the graph.

    Args:
        model: the model that runs in the block.
    """

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self._layers: list[tuple[_Site, dict[int, Any]]] = []
        self._handles: list[Any] = []

    def __enter__(self) -> Collected:
        for site in _sites(self.model):
            self._handles.append(site.module.register_forward_pre_hook(self._begin(site)))
            for place, part in enumerate(site.parts):
                self._handles.append(part.register_forward_hook(self._keep(place)))
        return self

    def __exit__(self, *_: Any) -> None:
        for handle in self._handles:
            handle.remove()

    def _begin(self, site: _Site) -> Callable[..., None]:
        return lambda *_: self._layers.append((site, {}))

    def _keep(self, place: int) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            # The first call is that of the tokens: DeBERTa projects its relative positions after them. Outputs are
            # taken as they are: what is calculated here would belong to a part that checkpointing runs again.
            self._layers[-1][1].setdefault(place, output)

        return hook

    def states(self, rows: int, tokens: int) -> tuple[QueryKeyValue, ...]:
        """One entry for each layer.

        Args:
            rows, tokens: B and L of the batch that ran.

        Raises:
            UserError: the layers' projections do not give one state for each token.
        """
        layers = [self._layer(site, outputs, tokens) for site, outputs in self._layers]
        shapes = {state.shape[:2] for layer in layers for state in layer}
        if len(layers) != self.model.config.num_hidden_layers or shapes != {(rows, tokens)}:
            raise UserError(_refusal(self.model.config))
        return tuple(layers)

    def _layer(self, site: _Site, outputs: dict[int, Any], tokens: int) -> QueryKeyValue:
        if len(outputs) != len(site.parts):
            raise UserError(_refusal(self.model.config))
        if site.together is not None:
            return _split(outputs[0], site)
        parts = enumerate(site.parts)
        return QueryKeyValue(*(_plain(outputs[place], part, tokens, self.model) for place, part in parts))


def widths(config: PretrainedConfig) -> dict[str, int] | None:
    """Widths of queries, keys and values of a model that is not built yet, by their names in `QueryKeyValue`.

    None where no model can be built from the configuration without its weights: running it then tells.

    Raises:
        UserError: the architecture has no such projections in every layer.
    """
    from transformers import AutoModel

    try:
        with torch.device("meta"):
            model = AutoModel.from_config(config)
    except Exception:  # each architecture has exceptions of its own
        return None
    sites = list(_sites(model))
    if not sites:
        raise UserError(_refusal(config))
    site = sites[-1]
    if site.together is not None:
        return dict.fromkeys(_KINDS, _out(site.parts[0]) // 3)
    return {kind: _out(part) for kind, part in zip(_KINDS, site.parts, strict=True)}


def _sites(model: nn.Module) -> Iterator[_Site]:
    for module in model.modules():
        children = dict(module.named_children())
        for names in _NAMES:
            if all(_projects(children.get(name)) for name in names):
                yield _Site(module, tuple(children[name] for name in names), None)
        for name in _TOGETHER:
            if _projects(children.get(name)):
                yield _Site(module, (children[name],), name)


def _projects(module: nn.Module | None) -> bool:
    return isinstance(getattr(module, "weight", None), Tensor)


def _out(module: nn.Module) -> int:
    return module.weight.shape[0]


def _plain(output: Any, part: nn.Module, tokens: int, model: PreTrainedModel) -> Tensor:
    """What a projection gave, as (B, L, width)."""
    state = output[0] if isinstance(output, tuple) else output  # I-BERT adds a scale
    if isinstance(part, nn.Conv1d):
        return state.transpose(1, 2)  # SqueezeBERT has the width in the middle
    if model.config.model_type == "longformer":  # tokens first, and padded to whole windows
        return state.transpose(0, 1)[:, :tokens]
    return state


def _split(output: Tensor, site: _Site) -> QueryKeyValue:
    if not _TOGETHER[site.together]:
        return QueryKeyValue(*output.chunk(3, -1))
    query, key, value = (
        part.flatten(2) for part in output.unflatten(-1, (site.module.num_attention_heads, -1)).chunk(3, -1)
    )
    return QueryKeyValue(query + site.module.q_bias, key, value + site.module.v_bias)


def _refusal(config: PretrainedConfig) -> str:
    return (
        f"{config.model_type}: its layers have no projections that give a query, a key and a value for each token: take"
        " a method that does not compare them"
    )
