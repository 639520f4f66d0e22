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

from distill.config.schema import Section
from distill.losses.divergences import gold_classes
from distill.losses.terms import soft_rows
from distill.losses.weights import ScheduledWeight, Weight
from distill.methods.base import Method
from distill.models.forward import Outputs
from distill.tasks.base import ClassRows


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
    unfit = {"regression": "it has no classes that a teacher could be made for"}

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs | None) -> dict[str, Tensor]:
        """`task` and `kl`.

        `kl` is summed over classes, its mean runs over the rows that have a gold class. For question answering the
        classes are the real tokens, rows whose position is outside the window do not count, and start and end are
        averaged.
        """
        parts = [self._kl(rows) for rows in self.task.class_rows(student.logits, batch)]
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
