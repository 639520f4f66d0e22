"""minimax_knn: distillation on the retrieved neighbours that the student knows least (Kamalloo et al. 2021).

arXiv 2105.13608. `task_weight · task + kl_alpha · soft(x) + candidate_alpha · soft(selected)`, all weights .5. In every
step the student runs on all K candidates of each training text; the `selected` with the largest
T² · KL(teacher ‖ student) are trained on. Question answering: 8 candidates, 2 selected.

That run is without gradient and in evaluation mode: with dropout on, the choice would follow the noise.
For regression, the distance and `soft` are the squared error of the logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor

from distill.config.schema import Count, Section
from distill.losses.weights import Weight
from distill.methods.shared.candidate_targets import CandidateTargets
from distill.models.forward import forward_pass, in_eval

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Config(Section):
    """Section `minimax_knn`."""

    task_weight: Weight
    kl_alpha: Weight
    candidate_alpha: Weight
    temperature: Annotated[float, Field(gt=0)]
    selected: Count


class MiniMaxNeighbours(CandidateTargets):
    """Task loss, soft targets, and soft targets on the candidates farthest from the teacher."""

    Config = Config
    section, count = "minimax_knn", "selected"

    @torch.no_grad()
    def select(self, index: Tensor, student: PreTrainedModel) -> tuple[dict[str, Tensor], Tensor]:
        """The candidates of training rows `index` on which the student is farthest from the teacher, and its logits."""
        near, targets = self.candidates.of(index)
        with in_eval(student):
            answers = forward_pass(student, self.task, near).logits
        distance = self.task.soft_rows(answers, targets, near, self.config.temperature)
        per_row = distance.view(len(index), self.candidates.per_row)
        starts = torch.arange(len(index), device=index.device).unsqueeze(1) * self.candidates.per_row
        rows = (starts + per_row.topk(self.config.selected, 1).indices).flatten()
        return self.candidates.pick(near, targets, rows)


METHOD = MiniMaxNeighbours
