"""ckd: combinatorial knowledge distillation (Wu et al. 2020, "Why Skip If You Can Combine").

`alpha · soft + (1 − alpha − beta) · task + beta · (1/K) Σ_k internal_k`. Student layer k learns from a group of teacher
layers: internal_k is the squared distance between h_s[k]·W_k and the concatenation of the group's states (width g · D
for g layers of width D), both L2-normalised; summed over the width, averaged over real tokens. W_k is fresh, trained
with the student and dropped with the method.

Groups for 6 → 2 layers: regular [1, 2, 3] [4, 5, 6], overlap [1, 2, 3, 4] [3, 4, 5, 6], skip_middle [1, 2] [5, 6],
cross [1, 3] [4, 6]; `distill.models.layer_groups` has the rules for other depths.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from distill.config.params import Params
from distill.config.schema import Section
from distill.losses.weights import Rest, ScheduledWeight, Share
from distill.methods.base import Setup
from distill.methods.shared.soft_targets import SoftTargets
from distill.models import layer_groups, layer_maps
from distill.models.forward import Outputs
from distill.models.layer_groups import LayerGroups
from distill.models.layer_maps import Counts
from distill.models.shape import num_layers
from distill.signals.states import Reads

FIELD = "ckd.layer_groups"


class Config(Section):
    """Section `ckd`."""

    alpha: Share
    beta: Share
    temperature: Annotated[float, Field(gt=0)]
    layer_groups: LayerGroups

    @model_validator(mode="after")
    def _task_loss_has_a_share(self) -> Config:
        moments = [step / 1000 for step in range(1001)]
        if (most := max(self.alpha.at(p) + self.beta.at(p) for p in moments)) > 1 + 1e-9:
            raise ValueError(
                f"alpha and beta add up to {most:g}, and the task loss gets 1 minus that: lower one of them"
            )
        return self


class CombinatorialDistillation(SoftTargets):
    """Task loss, soft targets, and hidden states against concatenated groups of the teacher's."""

    Config = Config
    copies = True
    needs = frozenset({"logits", "hidden"})
    layer_fields = ("layer_groups",)

    @classmethod
    def fits(cls, params: Params, count: Counts) -> None:
        """The teacher's layers must divide into such groups."""
        if both := layer_maps.both(count):
            layer_groups.resolve(params.sections["ckd"].layer_groups, *both, FIELD)

    @classmethod
    def reads(cls, params: Params, student: int, teacher: int) -> Reads:
        """Every token, at all layers that are in a group."""
        groups = layer_groups.resolve(params.sections["ckd"].layer_groups, student, teacher, FIELD)
        return Reads.of("hidden", (layer for group in groups for layer in group))

    def __init__(self, config: Config, setup: Setup):
        super().__init__(config, setup)
        student, teacher = num_layers(setup.student), num_layers(setup.teacher)
        self.layers = layer_groups.resolve(config.layer_groups, student, teacher, FIELD)
        width = setup.teacher.hidden_size
        self.maps = nn.ModuleList(
            nn.Linear(setup.student.hidden_size, len(group) * width, bias=False) for group in self.layers
        )

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs | None) -> dict[str, Tensor]:
        """`task`, `kl` and `internal` (the mean over student layers)."""
        mask = batch["attention_mask"].bool()
        gaps = []
        for k, (lift, group) in enumerate(zip(self.maps, self.layers, strict=True), start=1):
            target = torch.cat([teacher.hidden[layer].detach().float() for layer in group], -1)
            gap = F.normalize(lift(student.hidden[k]).float(), dim=-1) - F.normalize(target, dim=-1)
            gaps.append((gap.square().sum(-1) * mask).sum() / mask.sum())
        return super().terms(batch, student, teacher) | {"internal": sum(gaps) / len(gaps)}

    def weights(self) -> dict[str, ScheduledWeight | Rest]:
        """1 − `alpha` − `beta`, `alpha` and `beta`."""
        alpha, beta = self.config.alpha, self.config.beta
        return {"task": Rest((alpha, beta)), "kl": alpha, "internal": beta}


METHOD = CombinatorialDistillation
