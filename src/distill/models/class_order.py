"""The rows of a fine-tuned classifier's head, put into the order of the data's classes by their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from distill.data.loading.class_names import is_generic, order
from distill.errors import UserError
from distill.models.forward import in_eval

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
    return put(model, chosen, rows, classes, path, where)


def put(
    model: PreTrainedModel, chosen: Sequence[int], rows: Sequence[str], classes: Sequence[str], path: str, where: str
) -> str | None:
    """Make row `chosen[i]` of the head its row i, in place; arguments and result as of `arrange`.

    Raises:
        UserError: the head has no rows to put in order.
    """
    if list(chosen) == list(range(len(rows))):
        return None
    _permute(model, list(chosen), path, where)
    return f"{where}: the head's rows of {path!r} ({', '.join(rows)}) are put in the data's order: {', '.join(classes)}"


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
    if not linear or not torch.allclose(_probe(model), before[..., chosen], rtol=1e-3, atol=1e-5):
        raise UserError(
            f"params.yaml: {where}.model.path: the classes of {path!r} stand in another order than the data's, and the"
            f" head of a {model.config.model_type} cannot be put in order: give data.labels in the checkpoint's order"
        )


def _probe(model: PreTrainedModel) -> torch.Tensor:
    """Logits (1, classes) of some eight tokens; of a head for each token (1, 8, classes)."""
    ids = torch.arange(1, 9)[None] % model.get_input_embeddings().num_embeddings
    with torch.no_grad(), in_eval(model):
        return model(input_ids=ids, attention_mask=torch.ones_like(ids), return_dict=True).logits
