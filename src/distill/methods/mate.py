"""mate: MATE-KD, text that a generator changes so that student and teacher differ (Rashid et al. 2021, 2105.05912).

A masked-LM generator changes a share of the tokens: x becomes x′ (`distill.methods.shared.adversary`). In cycles, it
learns for `generator_steps` steps to maximise D(x′) by gradients through student and teacher, which stay as they are;
then the student learns for `student_steps` updates on `task_weight · task + kl_alpha · D(x) + adversarial_alpha ·
D(x′)`.

D is soft cross-entropy, the mean squared error on regression. For the student that is `soft` at T = 1 up to the
teacher's entropy, a constant, and is logged without it. Published: a third of each, 30% of the tokens, τ = 1, cycles of
10 + 100, AdamW 5e-7 for the generator and 2e-5 for the student, length 128, batch 32, 30 epochs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from torch import Tensor

from distill.config.schema import Count, Section
from distill.losses.weights import ScheduledWeight, Weight
from distill.methods.shared import adversary
from distill.methods.shared.changed_text import ChangedText
from distill.models.forward import forward_pass
from distill.signals.teacher import OnlineTeacher

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Config(Section):
    """Section `mate`."""

    task_weight: Weight
    kl_alpha: Weight
    adversarial_alpha: Weight
    mask_probability: Annotated[float, Field(gt=0, le=1)]
    gumbel_temperature: Annotated[float, Field(gt=0)]
    generator_steps: Annotated[int, Field(ge=0)]
    student_steps: Count
    generator_learning_rate: Annotated[float, Field(gt=0)]


class AdversarialText(ChangedText):
    """Task loss and soft targets, on training texts and on changed ones."""

    Config = Config
    section = "mate"

    def compute(self, batch: dict[str, Tensor], student: PreTrainedModel, teacher: OnlineTeacher) -> dict[str, Tensor]:
        """`generator`: D(x′), which it maximises; or the student's `task`, `kl` = D(x) and `adversarial` = D(x′)."""
        if self.cycle.is_generators(self.progress.step):
            logits, target = self.adversary.attack(batch, student, teacher)
            return {"generator": adversary.divergence(self.task, logits, target, batch)}
        logits, changed = forward_pass(student, self.task, batch).logits, self.adversary.changed(batch)
        return {
            "task": self.task.loss(logits, batch),
            "kl": self.task.soft(logits, teacher(batch).logits, batch, 1.0),
            "adversarial": self.task.soft(
                forward_pass(student, self.task, changed).logits, teacher(changed).logits, batch, 1.0
            ),
        }

    def weights(self) -> dict[str, ScheduledWeight]:
        """`task_weight`, `kl_alpha` and `adversarial_alpha`; the generator climbs."""
        return {
            "task": self.config.task_weight,
            "kl": self.config.kl_alpha,
            "adversarial": self.config.adversarial_alpha,
            "generator": adversary.CLIMB,
        }


METHOD = AdversarialText
