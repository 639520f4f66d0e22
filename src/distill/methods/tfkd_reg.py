"""tfkd_reg: a hand-made teacher instead of a trained one (Yuan et al. 2020, CVPR, arXiv 1909.11723, Tf-KD_reg).

The teacher's probabilities p are `correct` on the gold class and (1 − correct)/(C − 1) on each of the other C − 1
classes. Softened with T:

    soften: logits         T² · KL(softmax(log p / T) ‖ softmax(z_s / T)): a teacher whose logits are log p
    soften: probabilities  KL(softmax(p / T) ‖ softmax(z_s)): the public code, whose target is close to even at T = 20

`task_weight · task + kl_alpha · kl`, with one of these as kl; the paper's α is kl_alpha, its 1 − α task_weight;
correct 0.99, T = 20.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from distill.config.params import Params
from distill.config.schema import Section
from distill.errors import UserError
from distill.losses.divergences import gold_classes
from distill.losses.terms import soft_rows
from distill.losses.weights import ScheduledWeight, Weight
from distill.methods.base import Method, Setup
from distill.methods.shared import class_rows
from distill.methods.shared.class_rows import ClassRows
from distill.models.forward import Outputs

_NO_CLASSES = "task regression has no classes that a teacher could be made for: take tfkd_reg out of methods"


class Config(Section):
    """Section `tfkd_reg`."""

    task_weight: Weight
    kl_alpha: Weight
    temperature: Annotated[float, Field(gt=0)]
    correct: Annotated[float, Field(gt=0, lt=1)]
    soften: Literal["logits", "probabilities"]


class VirtualTeacher(Method):
    """Task loss, and soft targets made from the gold label alone."""

    Config = Config

    @classmethod
    def check(cls, params: Params) -> None:
        """Regression has no classes."""
        if params.task == "regression":
            raise ValueError(f"methods: 'tfkd_reg': {_NO_CLASSES}")

    def __init__(self, config: Config, setup: Setup):
        super().__init__(config, setup)
        if not setup.task.has_classes:
            raise UserError(f"params.yaml: methods: 'tfkd_reg': {_NO_CLASSES}")

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs | None) -> dict[str, Tensor]:
        """`task` and `kl`.

        `kl` is summed over classes, its mean runs over the rows that have a gold class. For question answering the
        classes are the real tokens, rows whose position is outside the window do not count, and start and end are
        averaged.
        """
        parts = [self._kl(rows) for rows in class_rows.split(self.task, student.logits, batch)]
        return {"task": self.task.loss(student.logits, batch), "kl": sum(parts) / len(parts)}

    def _kl(self, rows: ClassRows) -> Tensor:
        logits = rows.logits
        exists = torch.ones_like(logits, dtype=torch.bool) if rows.mask is None else rows.mask
        known, inside = gold_classes(rows.gold, logits, rows.mask)
        inside = inside.unsqueeze(-1)
        wrong_classes = (exists.sum(-1, keepdim=True) - 1).clamp(min=1)
        p = ((1 - self.config.correct) / wrong_classes).expand(logits.shape).scatter(-1, inside, self.config.correct)
        if self.config.soften == "logits":
            losses = soft_rows(logits, p.log(), self.config.temperature, exists)
        else:
            losses = soft_rows(logits, p / self.config.temperature, 1.0, exists)
        return torch.where(known, losses, 0.0).sum() / known.sum().clamp(min=1)

    def weights(self) -> dict[str, ScheduledWeight]:
        """`task_weight` and `kl_alpha`."""
        return {"task": self.config.task_weight, "kl": self.config.kl_alpha}


METHOD = VirtualTeacher
