"""Narrower layers: feed-forward units and attention heads that are left out of a model, the least important first.

Importance is the first-order Taylor estimate of what the loss loses without a unit or a head: for a row of the data the
size of `sum(a * dL/da)` over the tokens, and over a head's channels, where a is what the unit or the head puts out; the
mean over rows decides (heads: Michel et al. 2019, arXiv:1905.10650, equation 2, before their normalisation by layer,
which does not matter where every layer keeps as many; units: DynaBERT, Hou et al. 2020, arXiv:2004.04037, section 3.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from distill.config.model_shape import FEWER_HEADS
from distill.errors import UserError
from distill.models.forward import default_device, forward_pass, in_eval
from distill.models.loading import LAYER
from distill.tasks.base import Task

#: Fields of configurations that hold the number of feed-forward units (the second: DistilBERT's, the third: XLNet's).
UNITS = ("intermediate_size", "hidden_dim", "d_inner")
_QUERIES, _KEYS_VALUES, _OUTPUT = ("q_proj",), ("k_proj", "v_proj"), "o_proj"


@dataclass(frozen=True)
class Cut:
    """Units of one layer of which some are kept: feed-forward units, or heads.

    Attributes:
        inputs: names of the Linear modules whose output rows belong to the units, and into how many parts of equal
            order their rows fall: 2 for the two halves of a gated unit's one matrix.
        output: name of the Linear module whose input columns are what the units put out.
        count: number of units; heads that share keys and values count as one.
        keep: number of them to keep.
    """

    inputs: Mapping[str, int]
    output: str
    count: int
    keep: int


def unit_field(config: PretrainedConfig) -> str | None:
    """The field of a configuration that holds the number of feed-forward units; None where there is none."""
    return next((name for name in UNITS if isinstance(getattr(config, name, None), int)), None)


def narrowed(
    model: PreTrainedModel, fields: Mapping[str, Any], layers: Sequence[int], where: str
) -> tuple[list[Cut], dict[str, Any]]:
    """What has to be cut of some layers of a model so that they have fewer units or heads.

    Args:
        fields: fields of the configuration that the layers are to have; those that are as large as the model's, or
            larger, cut nothing.
        layers: numbers of the layers, from 1.
        where: section's name, for error messages.

    Returns:
        (cuts, fields of the configuration that go with them).

    Raises:
        UserError: the architecture does not let units or heads be left out.
    """
    cuts, changed = [], {}
    width = unit_field(model.config)
    if width in fields and fields[width] < getattr(model.config, width):
        parts = _modules(model, layers)
        cuts += [_units(model.config, width, fields[width], part, where) for part in parts]
    heads = fields.get("num_attention_heads")
    if heads is not None and heads < (getattr(model.config, "num_attention_heads", None) or 0):
        changed = _head_fields(model.config, heads, where)
        shared = model.config.num_attention_heads // _shared(model.config)
        for part in _modules(model, layers):
            names = {name.rpartition(".")[2]: name for name in part}
            inputs = {names[name]: 1 for name in (*_QUERIES, *_KEYS_VALUES)}
            cuts.append(Cut(inputs, names[_OUTPUT], _shared(model.config), heads // shared))
    return cuts, changed


def remarks(cuts: Sequence[Cut]) -> list[str]:
    """What is kept of each layer, in words."""
    pairs = dict.fromkeys((cut.output.rpartition(".")[2] == _OUTPUT, cut.keep, cut.count) for cut in cuts)
    words = {False: "feed-forward units", True: "heads, or groups of them,"}
    return [
        f"each layer keeps the {keep:,} of {count:,} {words[heads]} that matter most to the training rows"
        for heads, keep, count in pairs
    ]


def choose(
    model: PreTrainedModel, task: Task, cuts: Sequence[Cut], batches: Iterable[Mapping[str, Tensor]] | None
) -> dict[str, tuple[int, Tensor]]:
    """Which slices of a model's tensors stay: name of a parameter → (axis, indices, int64, ascending).

    Args:
        batches: labelled batches that importance is measured on; None: shapes are all that matters, and the first
            units stay.
    """
    scores = {}
    if cuts and batches is not None:
        home = model.device
        scores = importance(model.to(default_device()), task, cuts, batches)
        model.to(home)
    kept: dict[str, tuple[int, Tensor]] = {}
    for cut in cuts:
        values = scores.get(cut.output, torch.zeros(cut.count))
        units = torch.argsort(values, descending=True, stable=True)[: cut.keep].sort().values
        for name, parts in cut.inputs.items():
            module = model.get_submodule(name)
            rows = slices(units, module.out_features, cut.count, parts)
            kept[f"{name}.weight"] = (0, rows)
            if module.bias is not None:
                kept[f"{name}.bias"] = (0, rows)
        kept[f"{cut.output}.weight"] = (1, slices(units, model.get_submodule(cut.output).in_features, cut.count))
    return kept


def slice_of(tensor: Tensor, kept: tuple[int, Tensor] | None) -> Tensor:
    """What stays of a tensor: all of it (None), or the entries at (axis, indices)."""
    return tensor if kept is None else tensor.index_select(kept[0], kept[1].to(tensor.device))


def slices(units: Tensor, size: int, count: int, parts: int = 1) -> Tensor:
    """The places of some units, int64 (kept,), on an axis of `size` entries that holds all `count` of them.

    Args:
        parts: number of equal parts of the axis, each of which has all units in order.
    """
    part = size // parts
    block = part // count
    one = (units[:, None] * block + torch.arange(block)).flatten()
    return torch.cat([one + number * part for number in range(parts)])


def importance(
    model: PreTrainedModel, task: Task, cuts: Sequence[Cut], batches: Iterable[Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """Importance of each unit of each cut, float64 (count,), by the name of the cut's output module.

    Args:
        batches: labelled batches, whose loss is the mean over their rows.
    """
    seen: dict[str, Tensor] = {}
    hooks = []
    for cut in cuts:

        def remember(module: nn.Module, inputs: tuple[Tensor, ...], name: str = cut.output) -> None:
            seen[name] = inputs[0]

        hooks.append(model.get_submodule(cut.output).register_forward_pre_hook(remember))
    totals = {cut.output: torch.zeros(cut.count, dtype=torch.float64) for cut in cuts}
    rows = 0
    try:
        with in_eval(model), torch.enable_grad():
            for batch in batches:
                batch = {name: value.to(model.device) for name, value in batch.items()}
                count = len(batch["attention_mask"])
                loss = task.loss(forward_pass(model, task, batch).logits, batch)
                states = [seen[cut.output] for cut in cuts]
                for cut, state, slope in zip(cuts, states, torch.autograd.grad(loss, states), strict=True):
                    # The loss is a mean: a row's own slope is `count` times as large.
                    products = (
                        (state.detach() * slope).double().view(count, -1, cut.count, state.shape[-1] // cut.count)
                    )
                    totals[cut.output] += count * products.sum((1, 3)).abs().sum(0).cpu()
                rows += count
    finally:
        for hook in hooks:
            hook.remove()
    return {name: total / max(rows, 1) for name, total in totals.items()}


def _modules(model: PreTrainedModel, layers: Sequence[int]) -> list[dict[str, nn.Linear]]:
    """The Linear modules of each of the layers, by name."""
    found: dict[int, dict[str, nn.Linear]] = {layer: {} for layer in sorted(set(layers))}
    for name, module in model.named_modules():
        match = LAYER.match(f"{name}.")
        if match and isinstance(module, nn.Linear) and int(match[2]) + 1 in found:
            found[int(match[2]) + 1][name] = module
    return list(found.values())


def _units(config: PretrainedConfig, field: str, keep: int, part: Mapping[str, nn.Linear], where: str) -> Cut:
    """The cut of a layer's feed-forward units."""
    count, width = getattr(config, field), config.hidden_size
    outputs = [name for name, module in part.items() if (module.in_features, module.out_features) == (count, width)]
    inputs = {
        name: module.out_features // count
        for name, module in part.items()
        if module.in_features == width and module.out_features in (count, 2 * count)
    }
    if len(outputs) != 1 or not inputs or width in (count, 2 * count):
        raise UserError(
            f"params.yaml: {where}.model.config.{field}: {keep}, but which weights belong to a feed-forward unit of a"
            f" {config.model_type} of width {width} with {count} of them cannot be told: leave it out, or choose"
            " another init"
        )
    return Cut(inputs, outputs[0], count, keep)


def half_the_heads(config: PretrainedConfig) -> int | None:
    """Half of a layer's heads, rounded up to whole groups; None: the architecture can leave none out."""
    total = getattr(config, "num_attention_heads", None)
    if config.model_type not in FEWER_HEADS or total is None:
        return None
    groups = _shared(config)
    return total // groups * -(-groups // 2)


def _shared(config: PretrainedConfig) -> int:
    """Number of groups of heads that share keys and values; that of the heads where none do."""
    return getattr(config, "num_key_value_heads", None) or config.num_attention_heads


def _head_fields(config: PretrainedConfig, heads: int, where: str) -> dict[str, Any]:
    """The fields of a configuration with so many heads of the same size."""
    total, field = config.num_attention_heads, f"params.yaml: {where}.model.config.num_attention_heads: {heads}"
    if config.model_type not in FEWER_HEADS:
        raise UserError(
            f"{field}, but teacher_layers copies {total} heads: a {config.model_type} of fewer heads has wider ones"
            " (hidden_size / num_attention_heads), so that plain transformers could not load it: leave it out"
            f" ({', '.join(FEWER_HEADS)} can have fewer)"
        )
    shared = total // _shared(config)
    if heads % shared:
        raise UserError(f"{field}: heads share keys and values in groups of {shared}: give a multiple of {shared}")
    size = getattr(config, "head_dim", None) or config.hidden_size // total
    fields = {"num_attention_heads": heads, "head_dim": size}
    return fields | ({"num_key_value_heads": heads // shared} if hasattr(config, "num_key_value_heads") else {})
