"""rail: RAIL-KD, random intermediate layers (Haidar et al. 2021, arXiv 2109.10164).

Each epoch K of the teacher's N layers are drawn, sorted, and paired in order with the student's K layers: r(1) < … <
r(K). `(1 − alpha) · task + alpha · soft + beta · layers`, as in pkd, with

- `layer_wise`: layers = (1/K) Σ_k mse_cls(h_s[k], h_t[r(k)]);
- `concatenated`: layers = mse_cls of the K states one after another, (B, K · D), normalised as one vector.

h is a layer's first-token state (`pooling: first`) or, as in the paper, the mean of its real tokens' states (`mean`).

`pairing: reversed` pairs the student's first layer with the last that is drawn, as a control; it is not the paper's.

The draw of an epoch depends on the run's seed and the epoch alone, so a resumed run draws the same.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from distill.config.params import Params
from distill.config.schema import Section
from distill.errors import UserError
from distill.losses.contrastive import mean_states
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


class Config(Section):
    """Section `rail`."""

    alpha: Share
    beta: Weight
    temperature: Annotated[float, Field(gt=0)]
    form: Literal["layer_wise", "concatenated"]
    pooling: Literal["first", "mean"]
    pairing: Literal["in_order", "reversed"]

    @property
    def reads(self) -> Literal["cls", "hidden"]:
        """The teacher's states that this takes: the first token's, or every token's."""
        return "cls" if self.pooling == "first" else "hidden"


def check_depths(student: int, teacher: int) -> None:
    """Raise a UserError where the teacher has fewer layers than are drawn."""
    if student > teacher:
        raise UserError(
            f"params.yaml: methods: rail draws a teacher layer for each student layer: the student has {student}, the"
            f" teacher {teacher}: take rail out of the list, or give the student fewer layers"
        )


def drawn(student: int, teacher: int, seed: int, epoch: int) -> list[int]:
    """Teacher layers of an epoch, ascending: `student` of 1…`teacher`, every choice equally likely."""
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    return sorted((torch.randperm(teacher, generator=generator)[:student] + 1).tolist())


def pooled(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """One vector for each row, (B, D): the state of its first token, or the float32 mean of those of its real tokens.

    Args:
        states: (B, L, D); with `first` any number of tokens will do.
        mask: (B, L), 1 or true at real tokens.
        pooling: `first` or `mean`.
    """
    return states[:, 0] if pooling == "first" else mean_states(states, mask)


class RandomLayers(SoftTargets):
    """Task loss, soft targets, and normalised pooled states of layers that are drawn anew each epoch."""

    Config = Config
    copies = True
    needs = frozenset({"logits", "cls"})
    layer_fields = ("pooling",)

    @classmethod
    def fits(cls, params: Params, count: Counts) -> None:
        """The teacher must have as many layers as the student."""
        if both := layer_maps.both(count):
            check_depths(*both)

    @classmethod
    def reads(cls, params: Params, student: int, teacher: int) -> Reads:
        """The first token or every one, at every layer: any of them may be drawn."""
        return Reads.of(params.sections["rail"].reads, range(1, teacher + 1))

    def __init__(self, config: Config, setup: Setup):
        super().__init__(config, setup)
        self.needs = frozenset({"logits", config.reads})
        self.depths = num_layers(setup.student), num_layers(setup.teacher)
        check_depths(*self.depths)
        widths, count = (setup.student.hidden_size, setup.teacher.hidden_size), self.depths[0]
        if config.form == "concatenated":
            self.lifts = lifts(*(count * width for width in widths), 1)
        else:
            self.lifts = lifts(*widths, count)

    def remarks(self, params: Params, epochs: float) -> list[str]:
        """Layers are drawn once an epoch."""
        return [f"rail draws its layers once an epoch, and the training has {epochs:.2f} epochs"] if epochs < 2 else []

    @property
    def layers(self) -> list[int]:
        """The teacher layers of the present epoch, for student layers 1…K."""
        layers = drawn(*self.depths, self.seed, self.progress.epoch)
        return layers[::-1] if self.config.pairing == "reversed" else layers

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs | None) -> dict[str, Tensor]:
        """`task`, `kl` and `layers` (`losses.mse_cls`: the mean over layers, or of the concatenated states)."""
        mask, pooling = batch["attention_mask"], self.config.pooling
        states = [pooled(state, mask, pooling) for state in student.hidden[1:]]
        targets = [pooled(teacher.hidden[layer], mask, pooling) for layer in self.layers]
        if self.config.form == "concatenated":
            states, targets = [torch.cat(states, -1)], [torch.cat(targets, -1)]
        gaps = [mse_cls(lift(s), t) for lift, s, t in zip(self.lifts, states, targets, strict=True)]
        return super().terms(batch, student, teacher) | {"layers": sum(gaps) / len(gaps)}

    def weights(self) -> dict[str, ScheduledWeight | Rest]:
        """1 − `alpha`, `alpha` and `beta`."""
        return {"task": Rest((self.config.alpha,)), "kl": self.config.alpha, "layers": self.config.beta}


METHOD = RandomLayers
