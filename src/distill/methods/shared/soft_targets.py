"""The pair of terms that most methods have: the task loss and the teacher's soft targets (Hinton et al. 2015)."""

from __future__ import annotations

from torch import Tensor

from distill.losses.weights import Rest, ScheduledWeight
from distill.methods.base import Method
from distill.models.forward import Outputs


class SoftTargets(Method):
    """`task_weight · task + kl_alpha · T² · KL(teacher/T ‖ student/T)`; methods add terms, or weigh them otherwise.

    The section has `temperature`, and `task_weight` and `kl_alpha` where a method does not override `weights`.
    """

    needs = frozenset({"logits"})

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs | None) -> dict[str, Tensor]:
        """`task` and `kl`."""
        return {
            "task": self.task.loss(student.logits, batch),
            "kl": self.task.soft(student.logits, teacher.logits, batch, self.config.temperature),
        }

    def weights(self) -> dict[str, ScheduledWeight | Rest]:
        """`task_weight` and `kl_alpha`."""
        return {"task": self.config.task_weight, "kl": self.config.kl_alpha}
