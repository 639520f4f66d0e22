"""born_again: students of students (Furlanello et al. 2018, arXiv 1805.04770).

Generation 0 is the fine-tuned student. Generation g starts afresh, in the way and the shape in which fine-tuning
started, and learns from generation g − 1:

`task_weight · task + kl_alpha · T² · KL(generation g − 1 / T ‖ generation g / T)`.

The last of `generations` is the method's student. Those before it are trained by stage `train_generations`. The
evaluation also scores the ensemble: the mean of the logits of all generations, 0 to the last (`ensemble_…`).

The paper takes T = 1 and trains from one to three generations; its ensemble averages the generations' predictions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from torch import Tensor

from distill.config.params import Params
from distill.config.schema import Count, Section
from distill.errors import UserError
from distill.losses.weights import Weight
from distill.methods.shared.soft_targets import SoftTargets
from distill.signals.teacher import Teacher

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

# Seeds of neighbouring generations lie further apart than any two seeds of one run.
_APART = 100_000
# Fields that are equal in two models of one architecture; DistilBERT's names included.
_SHAPE = ("model_type", "num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "hidden_dim")


class Config(Section):
    """Section `born_again`."""

    generations: Count
    task_weight: Weight
    kl_alpha: Weight
    temperature: Annotated[float, Field(gt=0)]


class BornAgain(SoftTargets):
    """Task loss and the soft targets of the generation before."""

    Config = Config
    taught_by = "generation"
    needs = frozenset({"logits", "model"})

    @classmethod
    def start(cls, params: Params) -> str:
        """Every generation starts as fine-tuning started: `distill.init` could be the generation before."""
        return params.student.init

    @classmethod
    def training_seed(cls, config: Config, seed: int) -> int:
        """The last generation's seed."""
        return cls.generation_seed(seed, config.generations)

    @staticmethod
    def generation_seed(seed: int, generation: int) -> int:
        """Seed of the initialisation and training of a generation (from 1) of the run `seed`, different for each."""
        return seed + _APART * generation

    def compute(self, batch: dict[str, Tensor], student: PreTrainedModel, teacher: Teacher | None) -> dict[str, Tensor]:
        """The terms, for two models of one architecture.

        Raises:
            UserError: the generation before has another shape.
        """
        _check_same(student.config, teacher.model.config)
        return super().compute(batch, student, teacher)


def _check_same(student: PretrainedConfig, before: PretrainedConfig) -> None:
    for name in _SHAPE:
        value, previous = getattr(student, name, None), getattr(before, name, None)
        if value != previous:
            raise UserError(
                f"params.yaml: student.model: a born-again student has the architecture of the generation before it,"
                f" but {name} is {value} and was {previous}: run `dvc repro finetune_student`, then the generations"
                " again"
            )


METHOD = BornAgain
