"""kd: logit distillation (Hinton et al. 2015; Sanh et al. 2019), by a choice of divergences.

`task_weight · task + kl_alpha · D(teacher/T, student/T)`. D with p = softmax(z/T):

    forward  T² · KL(p_t ‖ p_s): the soft targets of every other method
    reverse  T² · KL(p_s ‖ p_t)
    js       T² · Jensen-Shannon: half of KL(p_t ‖ m) + KL(p_s ‖ m), m the mean of p_s and p_t
    tv       T · total variation: ½ Σ |p_t − p_s|
    mse      (z_s − z_t)², mean over classes, without T (Kim et al. 2021, arXiv 2105.08919)

and, for rankings alone, over the pairs of a query's passages of which one is more relevant (without labels, all pairs):

    margin_mse  ((s⁺ − s⁻) − (t⁺ − t⁻))², without T (Hofstätter et al. 2020, arXiv 2010.02666)
    pairwise    T² · KL of σ((t⁺ − t⁻)/T) from σ((s⁺ − s⁻)/T): RankNet with soft targets

`standardize` takes z-scores of each row's logits on both sides (Sun et al. 2024, arXiv 2403.01427). `decoupled` splits
the forward divergence: `decoupled_alpha` · KL(gold class against the rest) + `decoupled_beta` · KL(the rest, given that
it is not the gold class) (Zhao et al. 2022, arXiv 2203.08679; α 1, β 8 on CIFAR). Formulas and reductions stand in
`distill.losses.divergences` and `distill.losses.pairs`.

TED's scripts take task 1, kl_alpha 10 on SQuAD v2, T = 2; DistilBERT 0.5 and 0.5, T = 2.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from torch import Tensor

from distill.config.params import Params
from distill.config.schema import Section
from distill.errors import UserError
from distill.losses import divergences, pairs
from distill.losses.terms import TEACHER_WEIGHT, soft_rows, weighted_mean
from distill.losses.weights import ScheduledWeight, Weight
from distill.methods.base import Setup
from distill.methods.shared import class_rows
from distill.methods.shared.soft_targets import SoftTargets
from distill.models.forward import Outputs
from distill.tasks.base import ClassRows

_ROWS = {
    "forward": soft_rows,
    "reverse": divergences.reverse_rows,
    "js": divergences.jensen_shannon_rows,
    "tv": divergences.total_variation_rows,
}
#: Divergences between the passages of a query.
_OF_PAIRS = ("margin_mse", "pairwise")


class Config(Section):
    """Section `kd`."""

    task_weight: Weight
    kl_alpha: Weight
    temperature: Annotated[float, Field(gt=0)]
    divergence: Literal["forward", "reverse", "js", "tv", "mse", "margin_mse", "pairwise"]
    standardize: bool
    decoupled: bool
    decoupled_alpha: Annotated[float, Field(ge=0)]
    decoupled_beta: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _splits_the_forward_divergence(self) -> Config:
        if self.decoupled and self.divergence != "forward":
            raise ValueError(
                f"divergence is {self.divergence!r}, but decoupled splits the forward divergence: set divergence to"
                " forward, or decoupled to false"
            )
        return self

    @property
    def plain(self) -> bool:
        """Whether these are the soft targets of every other method."""
        return self.divergence == "forward" and not self.standardize and not self.decoupled


class LogitDistillation(SoftTargets):
    """Task loss and a divergence from the teacher's classes."""

    Config = Config
    copies = True
    layer_fields = ("standardize", "decoupled")

    @classmethod
    def check(cls, params: Params) -> None:
        """Decoupling needs a label for each row; margins and pairs need groups."""
        super().check(params)
        config = params.sections["kd"]
        _check_groups(config, params.task)
        cls.check_classes(params, class_rows.stated(params))
        if config.decoupled and params.data.has_transfer:
            raise UserError(
                "params.yaml: kd.decoupled: true, but the texts of data.transfer (hub: data.transfer_split) have no"
                " gold class to set apart: set it to false"
            )

    @classmethod
    def check_classes(cls, params: Params, classes: int | None) -> None:
        """Divergences need classes, and two of the options three of them."""
        _check_classes(params.sections["kd"], params.task != "regression", classes)

    def __init__(self, config: Config, setup: Setup):
        super().__init__(config, setup)
        _check_groups(config, setup.task.name)
        _check_classes(config, setup.task.has_classes, class_rows.counted(setup.task))
        self.term = "kl" if config.divergence in ("forward", "reverse") else config.divergence

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs | None) -> dict[str, Tensor]:
        """`task`, and the divergence, mean over rows (questions: of start and end; rankings: over queries).

        It is called `kl`, or `js`, `tv`, `mse`, `margin_mse` or `pairwise`.
        """
        if self.config.plain:
            return super().terms(batch, student, teacher)
        task = self.task.loss(student.logits, batch)
        if self.config.divergence == "mse" and not self.config.standardize:
            return {"task": task, self.term: self.task.logit_mse(student.logits, teacher.logits, batch)}
        sides = zip(*(self.task.class_rows(side.logits, batch) for side in (student, teacher)), strict=True)
        means = [self._mean(own, other, batch) for own, other in sides]
        return {"task": task, self.term: sum(means) / len(means)}

    def _mean(self, student: ClassRows, teacher: ClassRows, batch: dict[str, Tensor]) -> Tensor:
        config, mask = self.config, student.mask
        own, other = student.logits, teacher.logits.detach()
        if config.standardize:
            own, other = (divergences.standardized(logits, mask) for logits in (own, other))
        if config.decoupled:
            known, _ = divergences.gold_classes(student.gold, own, mask)
            weights = config.decoupled_alpha, config.decoupled_beta
            rows = divergences.decoupled_rows(own, other, student.gold, config.temperature, *weights, mask)
            weight = student.of_rows(batch[TEACHER_WEIGHT]) if TEACHER_WEIGHT in batch else 1.0
            return weighted_mean(rows, {TEACHER_WEIGHT: weight * known.float()})
        if config.divergence in _OF_PAIRS:
            further = () if config.divergence == "margin_mse" else (config.temperature,)
            rows, known = getattr(pairs, config.divergence)(own, other, student.grades, mask, *further)
            weight = student.of_rows(batch[TEACHER_WEIGHT]) if TEACHER_WEIGHT in batch else 1.0
            return weighted_mean(rows, {TEACHER_WEIGHT: weight * known.float()})
        if config.divergence == "mse":
            return weighted_mean(divergences.squared_rows(own, other, mask), batch, student.row)
        return weighted_mean(_ROWS[config.divergence](own, other, config.temperature, mask), batch, student.row)

    def weights(self) -> dict[str, ScheduledWeight]:
        """`task_weight` and `kl_alpha`."""
        return {"task": self.config.task_weight, self.term: self.config.kl_alpha}


def _check_groups(config: Config, task: str) -> None:
    """Raise a UserError where pairs of passages are compared, and there are none."""
    if config.divergence in _OF_PAIRS and task != "ranking":
        raise UserError(
            f"params.yaml: kd.divergence: {config.divergence!r} compares the passages of a query, and task {task} has"
            " none: set it to forward"
        )


def _check_classes(config: Config, has_classes: bool, classes: int | None) -> None:
    """Raise a UserError where an option means nothing for the task.

    Args:
        classes: their number, where it is known and the same for all rows.
    """
    options = [name for name in ("standardize", "decoupled") if getattr(config, name)]
    if not has_classes:
        if options:
            raise UserError(
                f"params.yaml: kd.{options[0]}: true, but task regression has a number and no classes: set it to false"
            )
        if config.divergence not in ("forward", "mse"):
            raise UserError(
                f"params.yaml: kd.divergence: {config.divergence!r} compares probabilities of classes, and task"
                " regression has none: set it to forward, which is the squared error there"
            )
    elif options and classes == 2:
        raise UserError(
            f"params.yaml: kd.{options[0]}: true, but {class_rows.TWO_CLASSES[options[0]]}: set it to false"
        )


METHOD = LogitDistillation
