"""alp: ALP-KD, attention over teacher layers (Passban et al. 2021, arXiv 2012.14022).

Student layer j learns from a mix of the teacher's layers A(j), weighted by their similarity to it:
a_jk = softmax over k ∈ A(j) of h_s[j]·h_t[k] / √D, c_j = Σ_k a_jk h_t[k], and
`task_weight · task + kl_alpha · soft + mse_alpha · Σ_j mse(h_s[j], c_j)`, with mse the mean over rows and width.

A(j) are all layers (`all`: ALP), disjoint blocks (`regular`: ALP-NO, no overlap), blocks with a layer more on either
side (`overlap`: ALP-PO, partial overlap; see `distill.models.layer_groups`), or lists. On the first token; with
`tokens: all` at every real token by itself. The paper does not divide by √D, which lets one layer take all the weight:
that is `scale: false`.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Discriminator, Field, Tag
from torch import Tensor

from distill.config.params import Params
from distill.config.schema import Section
from distill.losses.weights import ScheduledWeight, Weight
from distill.methods.base import Setup
from distill.methods.shared.soft_targets import SoftTargets
from distill.models import layer_groups, layer_maps
from distill.models.forward import Outputs
from distill.models.layer_groups import Lists
from distill.models.layer_maps import Counts
from distill.models.projections import lifts
from distill.models.shape import num_layers
from distill.signals.states import Reads

FIELD = "alp.layers"

# The tags choose one alternative, so that an error speaks of that one only.
Layers = Annotated[
    Annotated[Literal["all", "regular", "overlap", "reversed"], Tag("<name>")] | Annotated[Lists, Tag("<list>")],
    Discriminator(lambda value: "<list>" if isinstance(value, list) else "<name>"),
]


class Config(Section):
    """Section `alp`."""

    task_weight: Weight
    kl_alpha: Weight
    mse_alpha: Weight
    temperature: Annotated[float, Field(gt=0)]
    layers: Layers
    tokens: Literal["first", "all"]
    scale: bool


def attended(layers: str | list[list[int]], student: int, teacher: int) -> list[list[int]]:
    """A(1)…A(K): the teacher layers that each student layer attends to.

    Raises:
        UserError: the layers cannot be divided into such groups (see `layer_groups.resolve`).
    """
    if layers == "all":
        return [list(range(1, teacher + 1))] * student
    return layer_groups.resolve(layers, student, teacher, FIELD)


def distance(student: Tensor, teacher: Tensor, mask: Tensor, scale: bool) -> Tensor:
    """Mean squared error between states and the mix of teacher states that they attend to.

    The weights of the mix depend on the student's states, and the gradient passes through them.

    Args:
        student: (B, T, D), lifted to the teacher's width.
        teacher: (B, T, n, D), the states of n teacher layers; no gradient flows into them.
        mask: (B, T), true at the tokens that count.
        scale: divides the dot products by √D.

    Returns:
        Σ (student − mix)² over those tokens and the width, divided by (their number · D): a scalar, float32.
    """
    student, teacher = student.float(), teacher.detach().float()
    # Under bf16 autocast the products would lose the digits that the softmax needs.
    with torch.autocast(student.device.type, enabled=False):
        products = torch.einsum("btd,btnd->btn", student, teacher)
        shares = torch.softmax(products / math.sqrt(student.shape[-1]) if scale else products, -1)
        mix = torch.einsum("btn,btnd->btd", shares, teacher)
    return ((student - mix).square().mean(-1) * mask).sum() / mask.sum()


class AttentionProjection(SoftTargets):
    """Task loss, soft targets, and hidden states against attention-weighted mixes of the teacher's."""

    Config = Config
    copies = True
    needs = frozenset({"logits", "cls"})
    layer_fields = ("layers", "tokens")

    @classmethod
    def fits(cls, params: Params, count: Counts) -> None:
        """The teacher's layers must divide into the groups."""
        if both := layer_maps.both(count):
            attended(params.sections["alp"].layers, *both)

    @classmethod
    def reads(cls, params: Params, student: int, teacher: int) -> Reads:
        """At the first token or every one, all layers that are attended to."""
        config = params.sections["alp"]
        kind = "cls" if config.tokens == "first" else "hidden"
        return Reads.of(kind, (layer for group in attended(config.layers, student, teacher) for layer in group))

    def __init__(self, config: Config, setup: Setup):
        super().__init__(config, setup)
        self.needs = frozenset({"logits", "cls" if config.tokens == "first" else "hidden"})
        self.layers = attended(config.layers, num_layers(setup.student), num_layers(setup.teacher))
        self.lifts = lifts(setup.student.hidden_size, setup.teacher.hidden_size, len(self.layers))

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs | None) -> dict[str, Tensor]:
        """`task`, `kl` and `attended` (the sum over student layers of `distance`)."""
        count = 1 if self.config.tokens == "first" else batch["attention_mask"].shape[1]
        mask = batch["attention_mask"].bool()[:, :count]
        gaps = []
        for j, (lift, layers) in enumerate(zip(self.lifts, self.layers, strict=True), start=1):
            targets = torch.stack([teacher.hidden[layer][:, :count] for layer in layers], 2)
            gaps.append(distance(lift(student.hidden[j][:, :count]), targets, mask, self.config.scale))
        return super().terms(batch, student, teacher) | {"attended": sum(gaps)}

    def weights(self) -> dict[str, ScheduledWeight]:
        """`task_weight`, `kl_alpha` and `mse_alpha`."""
        return super().weights() | {"attended": self.config.mse_alpha}


METHOD = AttentionProjection
