"""context: contextual distillation (Park et al. 2021, arXiv 2109.08359): relations among words and among layers.

`task_weight · task + kl_alpha · soft + word_alpha · word + layer_alpha · layer`, with

    word   (1/K) Σ_k [cosines(h_s[k], h_t[map(k)]) + angle_weight · angles(…)] of the tokens of a text
    layer  cosines + angle_weight · angles of one token's states through the layers 0, 1…K and 0, map(1)…map(K)

`cosines` are mean squared differences of the cosines of all pairs, `angles` those of the angles of triples; between
words, triples lie in a window (`window`: 21 words, the vertex in the middle). Nothing is projected: widths may differ.

Not checked against the paper's text, for lack of it: that both kinds of differences are squared and averaged, equal
weights of pairs and of triples, that the embeddings are the first of the layers, and the weights, of which the paper
gives none for this setting.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from distill.config.params import Params
from distill.config.schema import LayerMap, Section
from distill.losses.structure import angle_gap, cosine_gap
from distill.losses.weights import ScheduledWeight, Weight
from distill.methods.base import Setup
from distill.methods.shared.soft_targets import SoftTargets
from distill.models import layer_maps
from distill.models.forward import Outputs
from distill.models.layer_maps import Counts
from distill.models.shape import num_layers
from distill.signals.states import Reads

FIELD = "context.layer_map"


def _odd(window: int) -> int:
    if window % 2 == 0:
        raise ValueError(f"{window} has no middle: give an odd number of words")
    return window


class Config(Section):
    """Section `context`."""

    task_weight: Weight
    kl_alpha: Weight
    temperature: Annotated[float, Field(gt=0)]
    word_alpha: Weight
    layer_alpha: Weight
    angle_weight: Annotated[float, Field(ge=0)]
    window: Annotated[int, Field(ge=3), AfterValidator(_odd)]
    layer_map: LayerMap


class ContextualDistillation(SoftTargets):
    """Task loss, soft targets, and cosines and angles among words and among layers."""

    Config = Config
    copies = True
    needs = frozenset({"logits", "hidden"})
    layer_fields = ("layer_map",)

    @classmethod
    def fits(cls, params: Params, count: Counts) -> None:
        """The layer map must fit both models."""
        if both := layer_maps.both(count):
            layer_maps.resolve(params.sections["context"].layer_map, *both, FIELD)

    @classmethod
    def reads(cls, params: Params, student: int, teacher: int) -> Reads:
        """Every token, at the embeddings and the layers of the map."""
        return Reads.of(
            "hidden", [0, *layer_maps.resolve(params.sections["context"].layer_map, student, teacher, FIELD)]
        )

    def __init__(self, config: Config, setup: Setup):
        super().__init__(config, setup)
        self.layers = layer_maps.resolve(config.layer_map, num_layers(setup.student), num_layers(setup.teacher), FIELD)

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs | None) -> dict[str, Tensor]:
        """`task`, `kl`, `word` (mean over layers) and `layer` (mean over real tokens)."""
        mask = batch["attention_mask"].bool()
        own, other = list(student.hidden), [teacher.hidden[layer] for layer in [0, *self.layers]]
        words = [self._gap(s, t, mask, self.config.window // 2) for s, t in zip(own[1:], other[1:], strict=True)]
        # Each real token is a set of points: its states, layer by layer.
        through = [torch.stack([state[mask] for state in states], 1) for states in (own, other)]
        every = torch.ones(through[0].shape[:2], dtype=torch.bool, device=mask.device)
        layer = self._gap(*through, every, len(own))
        return super().terms(batch, student, teacher) | {"word": sum(words) / len(words), "layer": layer}

    def _gap(self, student: Tensor, teacher: Tensor, mask: Tensor, reach: int) -> Tensor:
        gap = cosine_gap(student, teacher, mask)
        weight = self.config.angle_weight
        return gap + weight * angle_gap(student, teacher, mask, reach) if weight else gap

    def weights(self) -> dict[str, ScheduledWeight]:
        """`task_weight`, `kl_alpha`, `word_alpha` and `layer_alpha`."""
        return super().weights() | {"word": self.config.word_alpha, "layer": self.config.layer_alpha}


METHOD = ContextualDistillation
