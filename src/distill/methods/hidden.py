"""hidden: first-token states of chosen layers, beside soft targets (the encoder-distillation study).

`α · task + (1 − α) · (soft + hidden_beta · Σ_{i∈A} mse_cls(h_s[i], h_t[map(i)]))`. A are student layers. α is a number
or a schedule, and the other terms always get the rest: a growing α means that the teacher is followed first.

The study: T = 2, α = 0.5 or one of four cosine schedules, A one of [1, 2, 3], [4, 5, 6], [2, 4, 6], [1, 3, 5] and all,
hidden_beta 1. `mse_cls` is at most 4/D (0.005 at width 768), next to nothing beside soft targets; PKD takes 500.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag
from torch import Tensor

from distill.config.params import Params
from distill.config.schema import Count, LayerMap, Section
from distill.errors import UserError
from distill.losses.terms import mse_cls
from distill.losses.weights import Rest, ScheduledWeight, Share, Weight
from distill.methods.base import Setup
from distill.methods.shared.soft_targets import SoftTargets
from distill.models import layer_maps
from distill.models.forward import Outputs
from distill.models.layer_maps import Counts
from distill.models.projections import lifts
from distill.models.shape import num_layers
from distill.signals.states import Reads

FIELD = "hidden.layers"

# The tags choose one alternative, so that an error speaks of that one only.
Layers = Annotated[
    Annotated[Literal["all"], Tag("<name>")] | Annotated[list[Count], Field(min_length=1), Tag("<list>")],
    Discriminator(lambda value: "<list>" if isinstance(value, list) else "<name>"),
]


class Config(Section):
    """Section `hidden`."""

    alpha: Share
    hidden_beta: Weight
    temperature: Annotated[float, Field(gt=0)]
    layers: Layers
    layer_map: LayerMap


def pairs(config: Config, student: int, teacher: int) -> list[tuple[int, int]]:
    """(student layer, teacher layer) for each layer of `layers`, for models of so many layers.

    Raises:
        UserError: the student has no such layer, or one is named twice, or the layers cannot be mapped.
    """
    teachers = layer_maps.resolve(config.layer_map, student, teacher, "hidden.layer_map")
    chosen = list(range(1, student + 1)) if config.layers == "all" else config.layers
    if wrong := [layer for layer in chosen if layer > student]:
        raise UserError(f"params.yaml: {FIELD}: layer {wrong[0]} is not among the student's 1…{student}: correct it")
    if len(set(chosen)) < len(chosen):
        raise UserError(f"params.yaml: {FIELD}: {chosen} names a layer twice: name each layer once")
    return [(layer, teachers[layer - 1]) for layer in chosen]


class FeatureAlignment(SoftTargets):
    """Task loss, soft targets, and normalised first-token states of chosen layers."""

    Config = Config
    copies = True
    needs = frozenset({"logits", "cls"})
    layer_fields = ("layers", "layer_map")

    @classmethod
    def fits(cls, params: Params, count: Counts) -> None:
        """The chosen layers must exist and have partners."""
        if both := layer_maps.both(count):
            pairs(params.sections["hidden"], *both)

    @classmethod
    def reads(cls, params: Params, student: int, teacher: int) -> Reads:
        """The first token, at the layers that the chosen ones are paired with."""
        return Reads.of("cls", (layer for _, layer in pairs(params.sections["hidden"], student, teacher)))

    def __init__(self, config: Config, setup: Setup):
        super().__init__(config, setup)
        self.pairs = pairs(config, num_layers(setup.student), num_layers(setup.teacher))
        self.lifts = lifts(setup.student.hidden_size, setup.teacher.hidden_size, len(self.pairs))

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs | None) -> dict[str, Tensor]:
        """`task`, `kl` and `hidden` (the sum over layers of `losses.mse_cls`)."""
        states = [
            mse_cls(lift(student.hidden[k][:, 0]), teacher.hidden[layer][:, 0])
            for lift, (k, layer) in zip(self.lifts, self.pairs, strict=True)
        ]
        return super().terms(batch, student, teacher) | {"hidden": sum(states)}

    def weights(self) -> dict[str, ScheduledWeight | Rest]:
        """`alpha`, 1 − alpha, and (1 − alpha) · `hidden_beta`."""
        alpha = self.config.alpha
        return {"task": alpha, "kl": Rest((alpha,)), "hidden": Rest((alpha,), self.config.hidden_beta)}


METHOD = FeatureAlignment
