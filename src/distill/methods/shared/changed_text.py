"""Methods with a generator that changes texts and learns in steps of its own (`mate`, `cilda`, `combined`, `adv`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from distill.augmentation.samples import Changed
from distill.config.params import Params
from distill.config.schema import Section
from distill.methods.base import Method, Setup
from distill.methods.shared import adversary
from distill.methods.shared.adversary import Adversary, Cycle

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ChangedText(Method):
    """Registers the generator, which trains with a learning rate of its own and is dropped with the method.

    The section has `mask_probability`, `gumbel_temperature`, `generator_steps`, `student_steps` and
    `generator_learning_rate`.
    """

    artifacts = ("generator",)
    needs = frozenset({"logits", "model"})
    on_embeddings = ("student", "teacher")
    #: The method's section.
    section: ClassVar[str]

    @classmethod
    def check(cls, params: Params) -> None:
        """Besides `fits`: the generator must share the models' vocabulary."""
        super().check(params)
        adversary.check_params(params, cls.section)

    def __init__(self, config: Section, setup: Setup):
        super().__init__(config, setup)
        self.adversary = Adversary(setup, self.section, config.mask_probability, config.gumbel_temperature)
        self.cycle = Cycle(config.generator_steps, config.student_steps)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that tell the task which tokens may be changed."""
        return self.task.extra_columns

    def changed_texts(self, batch: dict[str, Tensor], student: PreTrainedModel) -> Changed:
        """What the generator makes of the batch, as it stands."""
        return Changed("generator", self.adversary.changed(batch))

    def trainer_steps(self, updates: int) -> int:
        """The student's updates and the generator's steps."""
        return self.cycle.trainer_steps(updates)

    def updates_in(self, steps: int) -> int:
        """Those steps that are not the generator's."""
        return self.cycle.updates_in(steps)

    def learning_rates(self) -> dict[str, float]:
        """The generator's learning rate."""
        return {"adversary.generator": self.config.generator_learning_rate}
