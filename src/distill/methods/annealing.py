"""annealing: Annealing KD (Jafari et al. 2021, arXiv 2104.07163): the teacher's logits first, growing; then the labels.

Phase 1, without labels: `mse_weight · mean (z_s − Φ(τ) · z_t)²`, Φ(τ) = 1 − (τ − 1)/τ_max, with τ falling through the
whole numbers τ_max … 1 (`distill.methods.shared.annealing_schedule`). Phase 2 starts from phase 1's best weights on the
selection split with a fresh optimiser: `task_weight · task`. Published: τ_max 7 (or 14), 14 + 6 or 14 + 4 epochs, lr
2e-5, batch 32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from torch import Tensor

from distill.config.params import Params
from distill.config.schema import Count, Section, Training
from distill.losses.weights import ScheduledWeight, Weight
from distill.methods.base import Method
from distill.methods.shared import annealing_schedule
from distill.models.forward import Outputs, forward_pass
from distill.signals.teacher import Teacher
from distill.training.objective import Phase

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Config(Section):
    """Section `annealing`."""

    mse_weight: Weight
    task_weight: Weight
    tau_max: Count
    phase1_share: Annotated[float, Field(gt=0, lt=1)]
    evaluations: Count


class Annealing(Method):
    """Squared error to growing teacher logits, then the task loss alone."""

    Config = Config
    needs = frozenset({"logits"})

    @classmethod
    def chooses(cls, params: Params) -> bool:
        """Phase 1 keeps its best weights."""
        return True

    @classmethod
    def needs_labels(cls, params: Params) -> str:
        """Phase 2 learns from labels."""
        return "its second phase learns from labels alone"

    def phases(self, training: Training) -> list[Phase]:
        """Logits, of which the best weights by the selection split are kept; then labels."""
        share = self.config.phase1_share
        best = {"evaluations": self.config.evaluations, "keep": "best"}
        return [Phase("annealing", share, best), Phase("task", 1 - share, labels_alone=True)]

    def compute(self, batch: dict[str, Tensor], student: PreTrainedModel, teacher: Teacher | None) -> dict[str, Tensor]:
        """Both models in phase 1, the student alone in phase 2."""
        outputs = forward_pass(student, self.task, batch)
        return self.terms(batch, outputs, teacher(batch) if self.phase == 0 else None)

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs | None) -> dict[str, Tensor]:
        """`mse` in phase 1 (`task.logit_mse`: over logits that exist), `task` in phase 2."""
        if self.phase:
            return {"task": self.task.loss(student.logits, batch)}
        factor = annealing_schedule.phi(self.progress.share, self.config.tau_max)
        return {"mse": self.task.logit_mse(student.logits, factor * teacher.logits, batch)}

    def weights(self) -> dict[str, ScheduledWeight]:
        """`mse_weight` and `task_weight`."""
        return {"mse": self.config.mse_weight, "task": self.config.task_weight}


METHOD = Annealing
