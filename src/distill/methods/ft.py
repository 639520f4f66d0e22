"""ft: fine-tuning with the task loss alone, for as many updates as every method gets: the baseline of all gains.

`task_weight · task`, with uniform label smoothing ε (over the real tokens for question answering).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from distill.config.params import Params
from distill.config.schema import Section
from distill.losses.weights import ScheduledWeight, Weight
from distill.methods.base import Method
from distill.models.forward import Outputs


class Config(Section):
    """Section `ft`."""

    task_weight: Weight
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]


class FineTuning(Method):
    """The task loss; needs no teacher."""

    Config = Config

    @classmethod
    def check(cls, params: Params) -> None:
        """Label smoothing needs classes, which regression has not."""
        smoothing = params.sections["ft"].label_smoothing
        if params.task == "regression" and smoothing:
            raise ValueError(
                f"ft.label_smoothing is {smoothing:g} but task is 'regression', which has no classes: set it to 0"
            )

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs | None) -> dict[str, Tensor]:
        """`task`."""
        return {"task": self.task.loss(student.logits, batch, self.config.label_smoothing)}

    def weights(self) -> dict[str, ScheduledWeight]:
        """`task_weight`."""
        return {"task": self.config.task_weight}


METHOD = FineTuning
