"""knn: distillation on retrieved neighbours, as they are (the baseline of Kamalloo et al. 2021, arXiv 2105.13608).

`task_weight · task + kl_alpha · soft(x) + candidate_alpha · soft(candidates)`: each training text brings its
`neighbours` nearest candidates, on which only the teacher's logits are known; the last term is the mean over all of a
batch. All weights .5. Stage retrieve finds the candidates and computes the teacher's logits for them once.

For question answering, a candidate is the same window with the question of a neighbour. For regression, `soft` is the
squared error of the logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from torch import Tensor

from distill.config.schema import Count, Section
from distill.losses.weights import Weight
from distill.methods.shared.candidate_targets import CandidateTargets

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Config(Section):
    """Section `knn`."""

    task_weight: Weight
    kl_alpha: Weight
    candidate_alpha: Weight
    temperature: Annotated[float, Field(gt=0)]
    neighbours: Count


class NearestNeighbours(CandidateTargets):
    """Task loss, soft targets, and soft targets on the nearest candidates."""

    Config = Config
    section, count = "knn", "neighbours"

    def select(self, index: Tensor, student: PreTrainedModel) -> tuple[dict[str, Tensor], Tensor]:
        """The nearest candidates of training rows `index`, and the teacher's logits for them."""
        return self.candidates.of(index, self.config.neighbours)


METHOD = NearestNeighbours
