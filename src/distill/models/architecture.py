"""Whether an architecture can be used at all, tried on a small copy before any model is trained or downloaded."""

from __future__ import annotations

import copy

import torch
from transformers import PretrainedConfig, PreTrainedModel, set_seed

from distill.models import windows
from distill.models.forward import forward_pass
from distill.models.loading import silence_padding
from distill.models.shape import with_layers
from distill.tasks.base import Task

# Words of the small copy, and the ids of its special tokens.
_WORDS = 64
_SPECIAL = {"pad_token_id": 0, "bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
# A pair with RoBERTa's separators, which Longformer's head counts: rows of an even and of an odd length, and the width
# that they are padded to.
_LENGTHS, _WIDTH = (24, 17), 40
# Standard deviation of what is added to the weights, times the root of the width.
_NOISE = 0.4


def check(config: PretrainedConfig, task: Task, where: str) -> None:
    """Refuse an architecture that computes with padding, as `windows.check_padding` does for the whole model.

    Args:
        config: the model's configuration; left as it is.
        where: the model's section, for the message.

    Raises:
        UserError: padding moves the logits of a copy with two layers, few words and random weights.
    """
    model = _small(config, task)
    if model is None:
        return
    rows = []
    for length in _LENGTHS:
        words = [5 + (7 * place + length) % (_WORDS - 5) for place in range(length)]
        words[0], words[5], words[6], words[-1] = 2, 3, 3, 3
        rows.append({"input_ids": words})
    windows.check_padding(model, task, rows, 0, where, _WIDTH)


def _small(config: PretrainedConfig, task: Task) -> PreTrainedModel | None:
    """The copy; None where it cannot be built or run: then the stage that trains the model tries the whole one."""
    fields = {"vocab_size": _WORDS, **_SPECIAL, **task.model_fields()}
    set_seed(0)
    try:
        if hasattr(config, "block_sizes"):  # Funnel's layers stand in blocks, whose sizes are its depth
            small = copy.deepcopy(config)
            small.update(fields)
        else:
            small = with_layers(config, range(1, min(config.num_hidden_layers, 2) + 1), fields)
        model = task.auto_class().from_config(small, dtype=torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():  # biases are zero at first, and hide what a layer does with padding
                parameter.add_(torch.randn_like(parameter), alpha=_NOISE / config.hidden_size**0.5)
        silence_padding(model, 0)
        batch = windows.batch_of({"input_ids": [2, 5, 6, 3, 3, 7, 8, 3]}, _WIDTH, 0)
        with torch.no_grad():
            forward_pass(model.eval(), task, batch)
    except Exception:  # each architecture has exceptions of its own
        return None
    return model
