"""The objective of fine-tuning a model by itself."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import PreTrainedModel

from distill.models.forward import forward_pass
from distill.tasks.base import Task


class FineTuningObjective(nn.Module):
    """The task loss of `model`."""

    def __init__(self, model: PreTrainedModel, task: Task):
        super().__init__()
        self.model, self.task = model, task

    def set_progress(self, progress: float) -> None:
        """Fine-tuning has no schedules."""

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """`loss` and the one term `task`."""
        loss = self.task.loss(forward_pass(self.model, self.task, batch).logits, batch)
        return {"loss": loss, "task": loss}
