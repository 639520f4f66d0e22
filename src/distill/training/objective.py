"""The interface between the trainer and a module that it trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from distill.config.schema import Training

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Progress:
    """How far a training, or the present phase of one, is.

    Attributes:
        step: steps done, before this one.
        steps: all steps.
        epoch: passes over the data that are complete.
    """

    step: int
    steps: int
    epoch: int

    @property
    def share(self) -> float:
        """How far the training is: 0 in its first step, 1 in its last, so that schedules reach both their ends."""
        return self.step / (self.steps - 1) if self.steps > 1 else 1.0


@dataclass(frozen=True)
class Phase:
    """A part of a training.

    Attributes:
        name: for progress bars; empty where there is only one.
        share: share of all updates, in (0, 1]; the shares of all phases add up to 1.
        changes: values of the training's section that differ in this phase (`keep`, `evaluations`, `learning_rate` …).
        labels_alone: whether nothing but labels is learnt from in it, so that batches hold labelled rows only.
    """

    name: str
    share: float
    changes: dict[str, Any] = field(default_factory=dict)
    labels_alone: bool = False


class Objective(nn.Module):
    """A module to train: its parameters that require gradients, by the loss that its forward gives.

    A subclass writes `forward`; everything else has a default. What an objective remembers between updates is a
    parameter or a registered buffer, or follows from `Progress`: a killed training then resumes as if it had never
    stopped.

    Attributes:
        columns: ragged feature columns that a batch must have besides tokens and labels.
    """

    columns: Sequence[str] = ()

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """`loss`, whose gradient is followed, and unweighted terms by name, for the log; each a scalar."""
        raise NotImplementedError

    def scored_logits(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits of the present weights, all dropout off, by which a training is scored on the selection split.

        An objective whose training is never scored leaves this out.
        """
        raise NotImplementedError

    def companions(self) -> Sequence[PreTrainedModel]:
        """Models that run along: they are neither trained nor saved."""
        return ()

    def weights(self) -> dict[str, float]:
        """Present weight of each term in the loss, by the terms' names; terms without a weight count once."""
        return {}

    def learning_rates(self) -> dict[str, float]:
        """Learning rates other than the training's, by prefix of the parameters' names."""
        return {}

    def phases(self, training: Training) -> list[Phase]:
        """The phases of the training, in order."""
        return [Phase("", 1.0)]

    def begin(self, phase: int) -> None:
        """Enter a phase, counted from 0; a training of a single phase without changes may leave this out."""

    def trainer_steps(self, updates: int) -> int:
        """Steps of the trainer in the present phase in which the trained model gets `updates` updates.

        More than that where some steps update something else (a generator, say).
        """
        return updates

    def updates_in(self, steps: int) -> int:
        """Updates of the trained model in the first `steps` steps of the present phase: undoes `trainer_steps`."""
        return steps

    def passes(self) -> dict[str, int]:
        """Rows that the training has used in this process, by what for: for the record; empty: nothing is counted."""
        return {}

    def set_progress(self, progress: Progress) -> None:
        """Called before every forward pass of the training, with the progress of the present phase."""
