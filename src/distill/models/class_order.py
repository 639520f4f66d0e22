"""The rows of a fine-tuned classifier's head, put into the order of the data's classes by their names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from distill.errors import UserError
from distill.models.forward import in_eval

# transformers' names for classes that nobody named, and bare numbers.
_GENERIC = re.compile(r"(?:LABEL_)?(\d+)")


def named(id2label: Mapping[Any, Any]) -> list[str]:
    """The names of a head's rows in their order, from `id2label` of a configuration or of params.yaml.

    Raises:
        ValueError: the keys are not 0, 1, 2 and so on.
    """
    names = {int(key): str(name) for key, name in id2label.items()}
    if sorted(names) != list(range(len(names))):
        raise ValueError(f"its keys are {', '.join(map(str, id2label))}, not 0 to {len(names) - 1}")
    return [names[row] for row in range(len(names))]


def order(rows: Sequence[str], classes: Sequence[str]) -> list[int] | None:
    """The row of each class: names are compared as they are, or else without case, spaces, hyphens and underscores.

    None where they are not the same names.
    """
    for key in (str, _plain):
        have, wanted = [key(name) for name in rows], [key(name) for name in classes]
        if len(set(have)) == len(have) and len(set(wanted)) == len(wanted) and set(have) == set(wanted):
            return [have.index(name) for name in wanted]
    return None


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()


def is_generic(rows: Sequence[str]) -> bool:
    """Whether the names say no more than the rows' numbers: LABEL_0, LABEL_1 … or 0, 1 …"""
    numbers = [_GENERIC.fullmatch(name) for name in rows]
    return all(match and int(match[1]) == row for row, match in enumerate(numbers))


def arrange(model: PreTrainedModel, rows: Sequence[str], classes: Sequence[str], path: str, where: str) -> str | None:
    """Put the rows of the head in the classes' order, in place.

    Args:
        rows: the checkpoint's names of the rows.
        classes: the data's classes, as many.
        path, where: the checkpoint, and the model's section, for messages.

    Returns:
        remark for the user; None where the order is the same.

    Raises:
        UserError: the names are not the same, or the head has no rows to put in order.
    """
    shown = f"{', '.join(classes)}"
    chosen = order(rows, classes)
    if chosen is None:
        if is_generic(rows):
            return f"{where}: {path!r} does not name its classes: its head's rows are taken for {shown}, in this order"
        raise UserError(
            f"params.yaml: {where}.model.path: the head of {path!r} has the classes {', '.join(rows)}, the data has"
            f" {shown}: name the data's classes so (data.labels), or say which class each row of the head is in"
            f" {where}.model.config, as id2label: {{0: {classes[0]}, …}}"
        )
    if chosen == list(range(len(rows))):
        return None
    _permute(model, chosen, path, where)
    return f"{where}: the head's rows of {path!r} ({', '.join(rows)}) are put in the data's order: {shown}"


def _permute(model: PreTrainedModel, chosen: list[int], path: str, where: str) -> None:
    encoder = f"{model.base_model_prefix}."
    linear = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == len(chosen) and not name.startswith(encoder)
    ]
    before = _probe(model)
    if linear:
        for parameter in linear[-1].parameters():
            parameter.data = parameter.data[chosen].clone()
    # Which module is the last one of a head differs from architecture to architecture: the logits decide.
    if not linear or not torch.allclose(_probe(model), before[:, chosen], rtol=1e-3, atol=1e-5):
        raise UserError(
            f"params.yaml: {where}.model.path: the classes of {path!r} stand in another order than the data's, and the"
            f" head of a {model.config.model_type} cannot be put in order: give data.labels in the checkpoint's order"
        )


def _probe(model: PreTrainedModel) -> torch.Tensor:
    """Logits (1, classes) of some eight tokens."""
    ids = torch.arange(1, 9)[None] % model.get_input_embeddings().num_embeddings
    with torch.no_grad(), in_eval(model):
        return model(input_ids=ids, attention_mask=torch.ones_like(ids), return_dict=True).logits
