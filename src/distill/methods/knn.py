"""knn: distillation on retrieved neighbours, as they are (the baseline of Kamalloo et al. 2021, arXiv 2105.13608).

`task_weight · task + kl_alpha · soft(x) + candidate_alpha · soft(candidates)`: each training text brings its
`neighbours` nearest candidates, on which only the teacher's logits are known; the last term is the mean over all of a
batch. All weights .5. Stage retrieve finds the candidates and asks the teacher once.

For question answering a candidate has another question before the same window: a neighbour's. For regression `soft` is
the squared error of the logits.
"""

from __future__ import annotations

from typing import Annotated

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
    """Section `knn`."""

    task_weight: Weight
    kl_alpha: Weight
    candidate_alpha: Weight
    temperature: Annotated[float, Field(gt=0)]
    neighbours: Count


class NearestNeighbours(Method):
    """Task loss, soft targets, and soft targets on the nearest candidates."""

    Config = Config
    groups = ("retrieved",)
    needs = frozenset({"logits"})

    @classmethod
    def check(cls, params: Params) -> None:
        """Stage retrieve must find as many as are wanted."""
        candidates.check_params(params, "knn", "neighbours")

    def __init__(self, config: Config, setup: Setup):
        super().__init__(config, setup)
        self.candidates = candidates.required(setup.candidates, "knn", config.neighbours, "neighbours")

    def compute(self, batch: dict[str, Tensor], student: PreTrainedModel, teacher: Teacher | None) -> dict[str, Tensor]:
        """`task`, `kl` and `candidate_kl` (mean over B · `neighbours` rows)."""
        own, temperature = models.run(student, self.task, batch).logits, self.config.temperature
        near, targets = self.candidates.of(batch["index"], self.config.neighbours)
        answers = models.run(student, self.task, near).logits
        return {
            "task": self.task.loss(own, batch),
            "kl": self.task.soft(own, teacher(batch).logits, batch, temperature),
            "candidate_kl": self.task.soft(answers, targets, near, temperature),
        }

    def weights(self) -> dict[str, ScheduledWeight]:
        """`task_weight`, `kl_alpha` and `candidate_alpha`."""
        config = self.config
        return {"task": config.task_weight, "kl": config.kl_alpha, "candidate_kl": config.candidate_alpha}


METHOD = NearestNeighbours
