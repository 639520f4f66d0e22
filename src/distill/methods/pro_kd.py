"""pro_kd: the student follows the teacher's own training, checkpoint by checkpoint (Rezagholizadeh et al. 2022).

Pro-KD, arXiv 2110.08532; "Grow-KD" in the survey talk. The teacher's fine-tuning keeps `teacher.snapshots` checkpoints,
evenly spaced; with the fine-tuned teacher as the last there are J teachers. Phase 1, without labels, has each of them
teach in turn, for equally many updates:

    kl_weight · soft(z_s, z_t of teacher j; T_j),  T_j = 1 + (temperature − 1) · (J − j)/(J − 1),  j = 1 … J,

so that T falls from `temperature` to 1. For numbers `soft` is the squared error, without T. Phase 2, with a fresh
optimiser: `task_weight · task`.

As remembered, not checked against the paper's text: that the first phase has no labels, that T falls to 1, and that the
last phase has labels alone. Its abstract says that the student follows the footprints of the teacher's training. How T
falls between its ends, and the shares of the phases, are ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from torch import Tensor

from distill.config.params import Params
from distill.config.schema import Section, Training
from distill.losses.weights import ScheduledWeight, Weight
from distill.methods.base import Method
from distill.methods.shared import annealing_schedule
from distill.models.forward import forward_pass
from distill.signals.teacher import CachedSnapshots
from distill.training.objective import Phase

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Config(Section):
    """Section `pro_kd`."""

    kl_weight: Weight
    task_weight: Weight
    temperature: Annotated[float, Field(ge=1)]
    phase1_share: Annotated[float, Field(gt=0, lt=1)]


class ProgressiveDistillation(Method):
    """Soft targets of the teacher's checkpoints, one after another, then the task loss alone."""

    Config = Config
    needs = frozenset({"logits"})
    artifacts = ("snapshots",)

    @classmethod
    def check(cls, params: Params) -> None:
        """The teacher's training must keep checkpoints; where there is none, `teacher.snapshots` cannot be set."""
        super().check(params)
        teacher = params.teacher
        where = "methods: 'pro_kd' follows checkpoints of the teacher's own training, but"
        if teacher.source != "model":
            raise ValueError(f"{where} teacher.source is {teacher.source!r}, which has none: take it out of methods")
        if not teacher.train:
            raise ValueError(f"{where} teacher.train is false, so that there is none: take it out of methods")
        if not teacher.snapshots:
            raise ValueError(f"{where} teacher.snapshots is 0: set it to the number of them, 3 for example")

    @classmethod
    def needs_labels(cls, params: Params) -> str:
        """Phase 2 learns from labels."""
        return "its second phase learns from labels alone"

    def phases(self, training: Training) -> list[Phase]:
        """The teacher's checkpoints in order; then labels."""
        share = self.config.phase1_share
        return [Phase("snapshots", share), Phase("task", 1 - share, labels_alone=True)]

    def compute(
        self, batch: dict[str, Tensor], student: PreTrainedModel, teacher: CachedSnapshots
    ) -> dict[str, Tensor]:
        """`kl` in phase 1, with the checkpoint whose turn it is, at its temperature; `task` in phase 2."""
        logits = forward_pass(student, self.task, batch).logits
        if self.phase:
            return {"task": self.task.loss(logits, batch)}
        number, temperature = turn(self.progress.share, len(teacher), self.config.temperature)
        return {"kl": self.task.soft(logits, teacher.of(number, batch).logits, batch, temperature)}

    def weights(self) -> dict[str, ScheduledWeight]:
        """`kl_weight` and `task_weight`."""
        return {"kl": self.config.kl_weight, "task": self.config.task_weight}


def turn(share: float, teachers: int, temperature: float) -> tuple[int, float]:
    """Which teacher's turn it is, and the temperature.

    Args:
        share: how far the phase is, see `Progress.share`.
        teachers: their number J; a single one has temperature 1.
        temperature: that of the first.

    Returns:
        (number from 1, equally long each and the last one in any case; temperature, 1 for the last)
    """
    after = annealing_schedule.tau(share, teachers) - 1
    return teachers - after, 1 + (temperature - 1) * after / max(teachers - 1, 1)


METHOD = ProgressiveDistillation
