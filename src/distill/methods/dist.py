"""dist: correlations of probabilities in place of divergences (DIST, Huang et al. 2022, arXiv 2205.10536).

`task_weight · task + row_alpha · row + class_alpha · class`, with p = softmax(z / T) and ρ Pearson's correlation:

    row    1 − ρ(p_s, p_t) over the classes of a row, mean over rows (the paper's inter-class relation, β)
    class  1 − ρ(p_s, p_t) over the rows of a batch, mean over classes (the paper's intra-class relation, γ)

On questions the classes of a row are its real tokens, start and end averaged. The tokens of two windows are not the
same classes, so that `class` has no meaning there; `row` has none for two classes, whose correlation is 1 or −1; and a
number is no probability. A weight of a term without meaning is refused unless it is 0.

The published β and γ are 2 (ImageNet, T = 1). That is not checked against the paper's text, for lack of it; nor is
whether its code multiplies the terms by T², which this does not: a correlation does not shrink when T grows.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from distill.config.params import Params
from distill.config.schema import Section
from distill.errors import UserError
from distill.losses.correlation import correlation
from distill.losses.terms import TEACHER_WEIGHT, weighted_mean
from distill.losses.weights import ScheduledWeight, Weight
from distill.methods.base import Method, Setup
from distill.methods.shared import class_rows
from distill.models.forward import Outputs
from distill.tasks.base import ClassRows

#: Tasks whose rows have no classes in common → why.
_NO_CLASSES = {
    "qa": "the classes of a question are its tokens, and those of two windows are not the same",
    "ranking": "the classes of a query are its passages, and those of two queries are not the same",
}


class Config(Section):
    """Section `dist`."""

    task_weight: Weight
    row_alpha: Weight
    class_alpha: Weight
    temperature: Annotated[float, Field(gt=0)]


class CorrelationDistillation(Method):
    """Task loss, and correlations of the classes' probabilities by row and by class."""

    Config = Config
    copies = True
    needs = frozenset({"logits"})
    unfit = {"regression": "it has a number and no classes whose probabilities could correlate"}
    layer_fields = ("row_alpha", "class_alpha")

    @classmethod
    def check(cls, params: Params) -> None:
        """`check_classes`, with the classes that the parameters state."""
        super().check(params)
        cls.check_classes(params, class_rows.stated(params))

    @classmethod
    def check_classes(cls, params: Params, classes: int | None) -> None:
        """No weight of a term that means nothing for the classes."""
        _check_weights(params.sections["dist"], _NO_CLASSES.get(params.task), classes)

    def __init__(self, config: Config, setup: Setup):
        super().__init__(config, setup)
        _check_weights(config, _NO_CLASSES.get(setup.task.name), class_rows.counted(setup.task))
        self.used = [name for name in ("row", "class") if getattr(config, f"{name}_alpha").value]

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs | None) -> dict[str, Tensor]:
        """`task`, and `row` and `class` where they have a weight."""
        sides = [self.task.class_rows(outputs.logits, batch) for outputs in (student, teacher)]
        parts = [self._terms(own, other, batch) for own, other in zip(*sides, strict=True)]
        means = {name: sum(part[name] for part in parts) / len(parts) for name in self.used}
        return {"task": self.task.loss(student.logits, batch)} | means

    def _terms(self, student: ClassRows, teacher: ClassRows, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        mask, found = student.mask, {}
        own, other = (self._probabilities(side) for side in (student, teacher))
        if "row" in self.used:
            found["row"] = weighted_mean(1 - correlation(own, other, mask), batch, student.row)
        if "class" in self.used:
            weight = student.of_rows(batch[TEACHER_WEIGHT]) if TEACHER_WEIGHT in batch else None
            found["class"] = (1 - correlation(own.T, other.T, weight)).mean()
        return found

    def _probabilities(self, rows: ClassRows) -> Tensor:
        logits = rows.logits.float() / self.config.temperature
        if rows.mask is not None:
            logits = logits.masked_fill(~rows.mask, -torch.inf)
        return torch.softmax(logits, -1)

    def weights(self) -> dict[str, ScheduledWeight]:
        """`task_weight`, and `row_alpha` and `class_alpha` where they are not 0."""
        return {"task": self.config.task_weight} | {name: getattr(self.config, f"{name}_alpha") for name in self.used}


def _check_weights(config: Config, other_classes: str | None, classes: int | None) -> None:
    """Raise a UserError where a term has a weight and no meaning, or no term has a weight.

    Args:
        other_classes: why each row has classes of its own; None: all have the same.
        classes: their number, where it is known and the same for all rows.
    """
    if other_classes and config.class_alpha.value:
        raise UserError(
            f"params.yaml: dist.class_alpha: {config.class_alpha.value:g}, but {other_classes}: set it to 0"
        )
    if classes == 2 and config.row_alpha.value:
        raise UserError(
            f"params.yaml: dist.row_alpha: {config.row_alpha.value:g}, but two probabilities correlate with two"
            " others by 1 or -1, whatever they are: set it to 0"
        )
    if not config.row_alpha.value and not config.class_alpha.value:
        raise UserError("params.yaml: dist: row_alpha and class_alpha are 0: give one of them a weight, or take ft")


METHOD = CorrelationDistillation
