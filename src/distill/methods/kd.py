"""kd: logit distillation (Hinton et al. 2015; Sanh et al. 2019).

`task_weight · task + kl_alpha · T² · KL(teacher/T ‖ student/T)`. TED's scripts take task 1, kl_alpha 10 on SQuAD v2,
T = 2; DistilBERT 0.5 and 0.5, T = 2.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from distill.methods.base import Method
from distill.models import Outputs
from distill.schedules import ScheduledWeight, Weight
from distill.sections import Section


class Config(Section):
    """Section `kd`."""

    task_weight: Weight
    kl_alpha: Weight
    temperature: Annotated[float, Field(gt=0)]


class LogitDistillation(Method):
    """Task loss and soft targets."""

    Config = Config
    groups = ("logits", "augmented")
    needs = frozenset({"logits"})

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs | None) -> dict[str, Tensor]:
        """`task` and `kl`."""
        return {
            "task": self.task.loss(student.logits, batch),
            "kl": self.task.soft(student.logits, teacher.logits, batch, self.config.temperature),
        }

    def weights(self) -> dict[str, ScheduledWeight]:
        """`task_weight` and `kl_alpha`."""
        return {"task": self.config.task_weight, "kl": self.config.kl_alpha}


METHOD = LogitDistillation
