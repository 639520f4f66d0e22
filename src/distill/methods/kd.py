"""kd: logit distillation (Hinton et al. 2015; Sanh et al. 2019).

`task_weight · task + kl_alpha · T² · KL(teacher/T ‖ student/T)`. TED's scripts take task 1, kl_alpha 10 on SQuAD v2,
T = 2; DistilBERT 0.5 and 0.5, T = 2.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from distill.config.schema import Section
from distill.losses.weights import Weight
from distill.methods.shared.soft_targets import SoftTargets


class Config(Section):
    """Section `kd`."""

    task_weight: Weight
    kl_alpha: Weight
    temperature: Annotated[float, Field(gt=0)]


class LogitDistillation(SoftTargets):
    """Task loss and soft targets."""

    Config = Config
    copies = True


METHOD = LogitDistillation
