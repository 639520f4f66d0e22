"""combined: Combined KD, annealing over changed texts (Jafari et al. 2021, arXiv 2109.05696).

Phase 1, without labels: `mse_weight · MSE(z_s(x), Φ z_t(x)) + adversarial_weight · MSE(z_s(x′), Φ z_t(x′))`, each a
half in the paper. x′ is what mate's generator makes of x (`distill.methods.shared.adversary`); in steps of its own it
learns to maximise the second term. Φ = 1 − (τ − 1)/τ_max grows as in annealing
(`distill.methods.shared.annealing_schedule`). Phase 2 starts from phase 1's best weights on the selection split with a
fresh optimiser: `task_weight · task`.
Published: τ_max 10, 30 + 10 epochs; the generator as in mate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from torch import Tensor

from distill.config.params import Params
from distill.config.schema import Count, Section, Training
from distill.losses.weights import ScheduledWeight, Weight
from distill.methods.shared import adversary, annealing_schedule
from distill.methods.shared.changed_text import ChangedText
from distill.models.forward import forward_pass
from distill.signals.teacher import OnlineTeacher
from distill.training.objective import Phase

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Config(Section):
    """Section `combined`."""

    mse_weight: Weight
    adversarial_weight: Weight
    task_weight: Weight
    tau_max: Count
    phase1_share: Annotated[float, Field(gt=0, lt=1)]
    evaluations: Count
    mask_probability: Annotated[float, Field(gt=0, le=1)]
    gumbel_temperature: Annotated[float, Field(gt=0)]
    generator_steps: Annotated[int, Field(ge=0)]
    student_steps: Count
    generator_learning_rate: Annotated[float, Field(gt=0)]


class Combined(ChangedText):
    """Squared error to growing teacher logits on training texts and on changed ones, then the task loss alone."""

    Config = Config
    section = "combined"

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

    def trainer_steps(self, updates: int) -> int:
        """The generator's steps come on top in phase 1; phase 2 has none."""
        return updates if self.phase else super().trainer_steps(updates)

    def updates_in(self, steps: int) -> int:
        """Phase 2 has no steps of the generator."""
        return steps if self.phase else super().updates_in(steps)

    def compute(self, batch: dict[str, Tensor], student: PreTrainedModel, teacher: OnlineTeacher) -> dict[str, Tensor]:
        """Phase 1: `generator` (which it maximises), or the student's `mse` and `adversarial`; phase 2: `task`."""
        if self.phase:
            return {"task": self.task.loss(forward_pass(student, self.task, batch).logits, batch)}
        factor = annealing_schedule.phi(self.progress.share, self.config.tau_max)
        if self.cycle.is_generators(self.progress.step):
            logits, target = self.adversary.attack(batch, student, teacher)
            return {"generator": adversary.both_ways(self._mse(batch), logits, factor * target)}
        changed, mse = self.adversary.changed(batch), self._mse(batch)
        return {
            "mse": mse(forward_pass(student, self.task, batch).logits, factor * teacher(batch).logits),
            "adversarial": mse(forward_pass(student, self.task, changed).logits, factor * teacher(changed).logits),
        }

    def _mse(self, batch: dict[str, Tensor]) -> adversary.Loss:
        return lambda student, teacher: self.task.logit_mse(student, teacher, batch)

    def weights(self) -> dict[str, ScheduledWeight]:
        """`mse_weight`, `adversarial_weight` and `task_weight`; the generator climbs."""
        return {
            "mse": self.config.mse_weight,
            "adversarial": self.config.adversarial_weight,
            "task": self.config.task_weight,
            "generator": adversary.CLIMB,
        }


METHOD = Combined
