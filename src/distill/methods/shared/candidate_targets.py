"""Distillation on retrieved candidates: what `knn` and `minimax_knn` share (Kamalloo et al. 2021, arXiv 2105.13608)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from distill.augmentation import candidates
from distill.augmentation.samples import Changed
from distill.config.params import Params
from distill.config.schema import Section
from distill.losses.weights import ScheduledWeight
from distill.methods.base import Setup
from distill.methods.shared.soft_targets import SoftTargets
from distill.models.forward import forward_pass
from distill.signals.teacher import Teacher

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class CandidateTargets(SoftTargets):
    """`task_weight · task + kl_alpha · soft(x) + candidate_alpha · soft(candidates)`; methods choose the candidates.

    The section has these weights and `temperature`.
    """

    artifacts = ("candidates",)
    unfit = {"ranking": "a neighbour is a pair by itself, and a score means something among the passages of one query"}
    #: The method's section, and the field of it that says how many candidates of a row are trained on.
    section: ClassVar[str]
    count: ClassVar[str]

    @classmethod
    def check(cls, params: Params) -> None:
        """Stage retrieve must find at least as many candidates as the method trains on."""
        candidates.check_params(params, cls.section, cls.count)

    def __init__(self, config: Section, setup: Setup):
        super().__init__(config, setup)
        self.candidates = candidates.required(setup.candidates, self.section, getattr(config, self.count), self.count)

    def select(self, index: Tensor, student: PreTrainedModel) -> tuple[dict[str, Tensor], Tensor]:
        """Candidates of training rows `index` (B,), and the teacher's logits for them (see `Candidates.of`)."""
        raise NotImplementedError

    def compute(self, batch: dict[str, Tensor], student: PreTrainedModel, teacher: Teacher | None) -> dict[str, Tensor]:
        """`task`, `kl` and `candidate_kl` (mean over all candidates of the batch)."""
        near, targets = self.select(batch["index"], student)
        terms = self.terms(batch, forward_pass(student, self.task, batch), teacher(batch))
        answers = forward_pass(student, self.task, near).logits
        return terms | {"candidate_kl": self.task.soft(answers, targets, near, self.config.temperature)}

    def changed_texts(self, batch: dict[str, Tensor], student: PreTrainedModel) -> Changed:
        """The candidates that the method chooses for the batch, and the teacher's logits for them."""
        return Changed("neighbours", *self.select(batch["index"], student))

    def weights(self) -> dict[str, ScheduledWeight]:
        """`task_weight`, `kl_alpha` and `candidate_alpha`."""
        return super().weights() | {"candidate_kl": self.config.candidate_alpha}
