"""What a distillation method is, and the objective that the trainer optimises for every one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from distill import models
from distill.config import Params
from distill.errors import UserError
from distill.filters import FilterBank
from distill.models import Outputs
from distill.schedules import ScheduledWeight
from distill.sections import Section
from distill.signals import Teacher
from distill.tasks.base import Task


@dataclass
class Setup:
    """What a method may build on: the task, the shapes of both models, and the filters where there are any."""

    task: Task
    student: PretrainedConfig
    teacher: PretrainedConfig
    student_filters: FilterBank | None = None
    teacher_filters: FilterBank | None = None


class Method(nn.Module):
    """Loss terms between a student and its teacher; parameters that it registers train with the student.

    Subclasses set `Config` (their section of params.yaml), `group` (which artifacts the stage depends on) and, where
    the answer does not depend on parameters, `needs`: any of `logits` and `hidden`, what the teacher must supply.
    """

    Config: ClassVar[type[Section]]
    group: ClassVar[str]
    needs: frozenset[str] = frozenset()

    def __init__(self, config: Section, setup: Setup):
        super().__init__()
        self.config = config
        self.task = setup.task

    @classmethod
    def check(cls, params: Params) -> None:
        """Raise a UserError where the method's parameters and others cannot work together: before any stage runs."""

    @property
    def student_hidden(self) -> bool:
        """Whether the student's hidden states are used."""
        return "hidden" in self.needs

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs | None) -> dict[str, Tensor]:
        """Unweighted loss terms by name, each a scalar."""
        raise NotImplementedError

    def weights(self) -> dict[str, ScheduledWeight]:
        """The weight of each term, by the same names."""
        raise NotImplementedError


class Distillation(nn.Module):
    """Student and method as one module to train; the teacher stays outside, it is neither trained nor saved.

    Raises:
        UserError: the teacher signals lack what the method needs.
    """

    def __init__(self, student: PreTrainedModel, method: Method, teacher: Teacher | None):
        super().__init__()
        self.student = student
        self.method = method
        self._teacher = [teacher]
        self._weights = method.weights()
        self._progress = 0.0
        provided = teacher.provides if teacher else frozenset()
        if missing := method.needs - provided:
            raise UserError(f"the teacher signals lack {', '.join(sorted(missing))}, which the method needs")

    def set_progress(self, progress: float) -> None:
        """Share of all updates that are done, in [0, 1): schedules follow it."""
        self._progress = progress

    def weights(self) -> dict[str, float]:
        """The weight of each term now."""
        return {name: weight.at(self._progress) for name, weight in self._weights.items()}

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """`loss`, the weighted sum, and every unweighted term by name (detached from nothing)."""
        student = models.run(self.student, self.method.task, batch, hidden=self.method.student_hidden)
        teacher = self._teacher[0](batch) if self.method.needs else None
        terms = self.method.terms(batch, student, teacher)
        total, weights = torch.zeros((), device=student.logits.device), self.weights()
        for name, term in terms.items():
            total = total + weights[name] * term
        return {"loss": total, **terms}
