"""cilda: mate with contrast of intermediate layers (Haidar et al. 2022, arXiv 2204.07674).

mate's generator changes a share of the tokens: x becomes x′ (`distill.methods.shared.adversary`). In cycles, it learns
for `generator_steps` steps to maximise D(x′) + C(x′), by gradients through student, teacher and projections, which stay
as they are; then student and projections learn for `student_steps` updates on

    task_weight · task + kl_alpha · D(x) + adversarial_alpha · D(x′) + contrastive_alpha · (C(x) + C(x′)).

D is mate's. C = −log exp(cos(u_s,i, u_t,i)/τ) / Σ_j exp(cos(u_s,i, u_t,j)/τ), mean over the rows i of a batch, j all of
them. u is a linear map of a row's states to `projection_dim` numbers: the mean over real tokens of each of the
student's layers, one after another, and of the teacher's layers that `layer_map` puts beside them.

The objective is as remembered; of the paper only the abstract was checked: intermediate layers, matched by a
contrastive loss, improve masked adversarial augmentation. That all layers are put one after another, the weights, τ and
the width of u are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from distill.config.params import Params
from distill.config.schema import Count, LayerMap, Section
from distill.losses.contrastive import contrast, mean_states
from distill.losses.weights import ScheduledWeight, Weight
from distill.methods.base import Setup
from distill.methods.shared import adversary
from distill.methods.shared.changed_text import ChangedText
from distill.models import layer_maps
from distill.models.forward import Outputs, forward_pass
from distill.models.layer_maps import Counts
from distill.models.shape import num_layers
from distill.signals.teacher import OnlineTeacher

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Config(Section):
    """Section `cilda`."""

    task_weight: Weight
    kl_alpha: Weight
    adversarial_alpha: Weight
    contrastive_alpha: Weight
    contrastive_temperature: Annotated[float, Field(gt=0)]
    projection_dim: Count
    layer_map: LayerMap
    mask_probability: Annotated[float, Field(gt=0, le=1)]
    gumbel_temperature: Annotated[float, Field(gt=0)]
    generator_steps: Annotated[int, Field(ge=0)]
    student_steps: Count
    generator_learning_rate: Annotated[float, Field(gt=0)]


class ContrastiveText(ChangedText):
    """Task loss, soft targets and contrast of layers, on training texts and on changed ones."""

    Config = Config
    needs = frozenset({"logits", "hidden", "model"})
    layer_fields = ("layer_map",)
    section = "cilda"

    @classmethod
    def fits(cls, params: Params, count: Counts) -> None:
        """The layer map must fit the models' depths."""
        if both := layer_maps.both(count):
            layer_maps.resolve(params.sections["cilda"].layer_map, *both, "cilda.layer_map")

    def __init__(self, config: Config, setup: Setup):
        super().__init__(config, setup)
        depth = num_layers(setup.student)
        self.layers = layer_maps.resolve(config.layer_map, depth, num_layers(setup.teacher), "cilda.layer_map")
        widths = (depth * model.hidden_size for model in (setup.student, setup.teacher))
        self.projections = nn.ModuleList(nn.Linear(width, config.projection_dim) for width in widths)

    def compute(self, batch: dict[str, Tensor], student: PreTrainedModel, teacher: OnlineTeacher) -> dict[str, Tensor]:
        """A step of the generator: `generator` = D(x′) and `generator_contrastive` = C(x′), which it maximises.

        One of the student: `task`, `kl` = D(x), `contrastive` = C(x), `adversarial` = D(x′) and
        `adversarial_contrastive` = C(x′).
        """
        mask = batch["attention_mask"]
        if self.cycle.is_generators(self.progress.step):
            own, other = self.adversary.attack_outputs(batch, student, teacher, hidden=True)
            with adversary.frozen(self.projections):
                distance = self._contrast(own, other, mask)
            return {
                "generator": adversary.divergence(self.task, own.logits, other.logits, batch),
                "generator_contrastive": distance,
            }
        changed = self.adversary.changed(batch)
        (own, other), (own_changed, other_changed) = (
            (forward_pass(student, self.task, texts, hidden=True), teacher(texts)) for texts in (batch, changed)
        )
        return {
            "task": self.task.loss(own.logits, batch),
            "kl": self.task.soft(own.logits, other.logits, batch, 1.0),
            "contrastive": self._contrast(own, other, mask),
            "adversarial": self.task.soft(own_changed.logits, other_changed.logits, batch, 1.0),
            "adversarial_contrastive": self._contrast(own_changed, other_changed, mask),
        }

    def _contrast(self, student: Outputs, teacher: Outputs, mask: Tensor) -> Tensor:
        sides = (student.hidden[1:], [teacher.hidden[layer] for layer in self.layers])
        vectors = [
            projection(_pooled(states, mask)) for projection, states in zip(self.projections, sides, strict=True)
        ]
        return contrast(*vectors, self.config.contrastive_temperature)

    def weights(self) -> dict[str, ScheduledWeight]:
        """`task_weight`, `kl_alpha`, `adversarial_alpha` and `contrastive_alpha`, twice; the generator climbs."""
        return {
            "task": self.config.task_weight,
            "kl": self.config.kl_alpha,
            "contrastive": self.config.contrastive_alpha,
            "adversarial": self.config.adversarial_alpha,
            "adversarial_contrastive": self.config.contrastive_alpha,
            "generator": adversary.CLIMB,
            "generator_contrastive": adversary.CLIMB,
        }


def _pooled(states: Sequence[Tensor], mask: Tensor) -> Tensor:
    """The mean states of layers (B, L, D) each, one after another: (B, layers · D)."""
    return torch.cat([mean_states(state, mask) for state in states], -1)


METHOD = ContrastiveText
