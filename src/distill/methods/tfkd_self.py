"""tfkd_self: teacher-free self-training (Yuan et al. 2020, CVPR, arXiv 1909.11723, Tf-KD_self).

`task_weight · task + kl_alpha · T² · KL(self/T ‖ student/T)`: kd with the fine-tuned student itself, frozen, in the
teacher's place. The paper's α is kl_alpha, its 1 − α task_weight.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from distill.config.params import Params
from distill.config.schema import Section
from distill.losses.weights import Weight
from distill.methods.shared.soft_targets import SoftTargets


class Config(Section):
    """Section `tfkd_self`."""

    task_weight: Weight
    kl_alpha: Weight
    temperature: Annotated[float, Field(gt=0)]


class SelfTraining(SoftTargets):
    """Task loss, and soft targets from the student's own fine-tuned copy, which runs along."""

    Config = Config
    taught_by = "student"
    # No stage caches that copy's logits: `model` asks for the copy itself.
    needs = frozenset({"logits", "model"})

    def remarks(self, params: Params, epochs: float) -> list[str]:
        """A student that is its own teacher learns nothing from it at first."""
        text = "distill.init is 'finetuned': the student starts as its own teacher, and the soft targets hold it there"
        return [text] if params.distill.init == "finetuned" else []


METHOD = SelfTraining
