"""adv: adversarial texts with the gold label and no teacher (the talk's "Student + Adv", beside mate).

mate's generator changes a share of the tokens: x becomes x′ (`distill.methods.shared.adversary`). In cycles, it learns
for `generator_steps` steps to maximise the student's task loss on x′, by gradients through the student, which stays as
it is; then the student learns for `student_steps` updates on `task_weight · task(x) + adversarial_weight · task(x′)`.

The label of x′ is that of x: on questions neither the question nor the answer is changed, elsewhere any word may be, so
that a label may be wrong afterwards. How the talk trained its generator is not said there; that it maximises the task
loss is ours, by analogy with mate. Published: GLUE dev average 80.53, RoBERTa-large → DistilRoBERTa; mate 82.64.
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
from distill.signals.teacher import Teacher

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Config(Section):
    """Section `adv`."""

    task_weight: Weight
    adversarial_weight: Weight
    mask_probability: Annotated[float, Field(gt=0, le=1)]
    gumbel_temperature: Annotated[float, Field(gt=0)]
    generator_steps: Annotated[int, Field(ge=0)]
    student_steps: Count
    generator_learning_rate: Annotated[float, Field(gt=0)]


class AdversarialLabels(ChangedText):
    """Task loss, on training texts and on changed ones."""

    Config = Config
    needs = frozenset()
    on_embeddings = ("student",)
    section = "adv"

    def compute(self, batch: dict[str, Tensor], student: PreTrainedModel, teacher: Teacher | None) -> dict[str, Tensor]:
        """`generator`: the task loss on x′, which it maximises; or the student's `task` and `adversarial`."""
        if self.cycle.is_generators(self.progress.step):
            return {"generator": self.task.loss(self.adversary.attack_student(batch, student), batch)}
        logits, changed = forward_pass(student, self.task, batch).logits, self.adversary.changed(batch)
        return {
            "task": self.task.loss(logits, batch),
            "adversarial": self.task.loss(forward_pass(student, self.task, changed).logits, batch),
        }

    def weights(self) -> dict[str, ScheduledWeight]:
        """`task_weight` and `adversarial_weight`; the generator climbs."""
        return {
            "task": self.config.task_weight,
            "adversarial": self.config.adversarial_weight,
            "generator": adversary.CLIMB,
        }


METHOD = AdversarialLabels
