"""rkd: the ALP-KD paper's "regular KD" baseline (Passban et al. 2021, arXiv 2012.14022).

`alpha · soft + (1 − alpha) · task`: kd with the weights alpha and 1 − alpha, under the name that the tables of ALP-KD
and Combinatorial KD give it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from distill.methods.base import Method
from distill.models import Outputs
from distill.schedules import Rest, ScheduledWeight, Share
from distill.sections import Section


class Config(Section):
    """Section `rkd`."""

    alpha: Share
    temperature: Annotated[float, Field(gt=0)]


class RegularDistillation(Method):
    """Task loss and soft targets, whose weights add up to 1."""

    Config = Config
    groups = ("logits", "augmented")
    needs = frozenset({"logits"})

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs | None) -> dict[str, Tensor]:
        """`task` and `kl`."""
        return {
            "task": self.task.loss(student.logits, batch),
            "kl": self.task.soft(student.logits, teacher.logits, batch, self.config.temperature),
        }

    def weights(self) -> dict[str, ScheduledWeight | Rest]:
        """1 − `alpha` and `alpha`."""
        return {"task": Rest((self.config.alpha,)), "kl": self.config.alpha}


METHOD = RegularDistillation
