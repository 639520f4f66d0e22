"""minimax_knn: distillation on the retrieved neighbours that the student knows least (Kamalloo et al. 2021).

arXiv 2105.13608. `task_weight · task + kl_alpha · soft(x) + candidate_alpha · soft(selected)`, all weights .5. In every
step the student is asked about all K candidates of each training text; the `selected` with the largest
T² · KL(teacher ‖ student) are trained on. Question answering: 8 candidates, 2 selected.

The student is asked without gradient and in evaluation mode: with dropout on, the choice would follow the noise.
For regression distance and `soft` are the squared error of the logits.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedModel

from distill import candidates, models
from distill.config import Params
from distill.methods.base import Method, Setup
from distill.schedules import ScheduledWeight, Weight
from distill.sections import Count, Section
from distill.signals import Teacher


class Config(Section):
    """Section `minimax_knn`."""

    task_weight: Weight
    kl_alpha: Weight
    candidate_alpha: Weight
    temperature: Annotated[float, Field(gt=0)]
    selected: Count


class MiniMaxNeighbours(Method):
    """Task loss, soft targets, and soft targets on the candidates farthest from the teacher."""

    Config = Config
    groups = ("retrieved",)
    needs = frozenset({"logits"})

    @classmethod
    def check(cls, params: Params) -> None:
        """Stage retrieve must find as many as are selected."""
        candidates.check_params(params, "minimax_knn", "selected")

    def __init__(self, config: Config, setup: Setup):
        super().__init__(config, setup)
        self.candidates = candidates.required(setup.candidates, "minimax_knn", config.selected, "selected")

    def compute(self, batch: dict[str, Tensor], student: PreTrainedModel, teacher: Teacher | None) -> dict[str, Tensor]:
        """`task`, `kl` and `candidate_kl` (mean over B · `selected` rows)."""
        near, targets = self.select(batch["index"], student)
        own, temperature = models.run(student, self.task, batch).logits, self.config.temperature
        answers = models.run(student, self.task, near).logits
        return {
            "task": self.task.loss(own, batch),
            "kl": self.task.soft(own, teacher(batch).logits, batch, temperature),
            "candidate_kl": self.task.soft(answers, targets, near, temperature),
        }

    @torch.no_grad()
    def select(self, index: Tensor, student: PreTrainedModel) -> tuple[dict[str, Tensor], Tensor]:
        """The candidates of training rows `index` on which the student is farthest from the teacher, and its logits."""
        near, targets = self.candidates.of(index)
        with models.in_eval(student):
            answers = models.run(student, self.task, near).logits
        distance = self.task.soft_rows(answers, targets, near, self.config.temperature)
        per_row = distance.view(len(index), self.candidates.per_row)
        first = torch.arange(len(index), device=index.device).unsqueeze(1) * self.candidates.per_row
        rows = (first + per_row.topk(self.config.selected, 1).indices).flatten()
        return self.candidates.pick(near, targets, rows)

    def weights(self) -> dict[str, ScheduledWeight]:
        """`task_weight`, `kl_alpha` and `candidate_alpha`."""
        config = self.config
        return {"task": config.task_weight, "kl": config.kl_alpha, "candidate_kl": config.candidate_alpha}


METHOD = MiniMaxNeighbours
