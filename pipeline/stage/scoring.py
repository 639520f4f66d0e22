"""What a model says of the splits that are scored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.config.params import Params
from distill.data.loading.prepared import Prepared
from distill.models import acceleration
from distill.models.forward import default_device
from distill.models.predict import forward_of, predict_split
from distill.tasks.base import Predicted, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def of_split(model: PreTrainedModel, data: Prepared, task: Task, params: Params, split: str) -> Predicted:
    """A model's logits over a split that is scored.

    Args:
        data: the data in the model's tokens (`Prepared.read_by`).
    """
    section = params.evaluate
    with acceleration.attention(model, params.runtime, int(data.ragged(split).lengths.max())):
        return predict_split(
            forward_of(model, task),
            data,
            split,
            section.batch_size,
            default_device(),
            section.precision,
            split,
            task.per_token,
        )
