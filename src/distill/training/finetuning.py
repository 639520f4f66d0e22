"""The objective of fine-tuning a model without a teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from distill.models.forward import forward_pass
from distill.models.predict import forward_of
from distill.tasks.base import Task
from distill.training.objective import Objective

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class FineTuningObjective(Objective):
    """The task loss of `model`."""

    def __init__(self, model: PreTrainedModel, task: Task):
        super().__init__()
        self.model, self.task = model, task

    def scored_logits(self, batch: dict[str, Tensor]) -> Tensor:
        return forward_of(self.model, self.task)(batch)

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """`loss` and the one term `task`."""
        loss = self.task.loss(forward_pass(self.model, self.task, batch).logits, batch)
        return {"loss": loss, "task": loss}
