"""pkd: patient knowledge distillation (Sun et al. 2019, arXiv 1908.09355).

`(1 − α) · task + α · soft + β · (1/(K − 1)) Σ_k mse_cls(h_s[k], h_t[map(k)])` over the student layers k = 1…K − 1: the
last one learns from the logits. For 12 → 6 layers the paper's PKD-Skip takes the teacher's layers 2, 4, 6, 8, 10
(`layer_map: skip` or `uniform`) and PKD-Last 7 to 11 (`last`). Published: α 0.7, T 10, β 500, learning rate 1e-5 to
5e-5, warm-up 0.1, length 128.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from distill.config.params import Params
from distill.config.schema import LayerMap, Section
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

FIELD = "pkd.layer_map"


class Config(Section):
    """Section `pkd`."""

    alpha: Share
    beta: Weight
    temperature: Annotated[float, Field(gt=0)]
    layer_map: LayerMap


class PatientDistillation(SoftTargets):
    """Task loss, soft targets, and normalised first-token states of all layers but the last."""

    Config = Config
    copies = True
    needs = frozenset({"logits", "cls"})
    layer_fields = ("layer_map",)

    @classmethod
    def fits(cls, params: Params, count: Counts) -> None:
        """The student must have layers below its last, and the map must fit both models."""
        if both := layer_maps.both(count):
            layer_maps.resolve_inner(params.sections["pkd"].layer_map, *both, FIELD)

    @classmethod
    def reads(cls, params: Params, student: int, teacher: int) -> Reads:
        """The first token, at the layers of the map."""
        layers = layer_maps.resolve_inner(params.sections["pkd"].layer_map, student, teacher, FIELD)
        return Reads.of("cls", layers)

    def __init__(self, config: Config, setup: Setup):
        super().__init__(config, setup)
        student, teacher = num_layers(setup.student), num_layers(setup.teacher)
        self.layers = layer_maps.resolve_inner(config.layer_map, student, teacher, FIELD)
        self.lifts = lifts(setup.student.hidden_size, setup.teacher.hidden_size, len(self.layers))

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs | None) -> dict[str, Tensor]:
        """`task`, `kl` and `patient` (the mean over layers of `losses.mse_cls`)."""
        states = [
            mse_cls(lift(student.hidden[k][:, 0]), teacher.hidden[layer][:, 0])
            for k, (lift, layer) in enumerate(zip(self.lifts, self.layers, strict=True), start=1)
        ]
        return super().terms(batch, student, teacher) | {"patient": sum(states) / len(states)}

    def weights(self) -> dict[str, ScheduledWeight | Rest]:
        """1 − `alpha`, `alpha` and `beta`."""
        return {"task": Rest((self.config.alpha,)), "kl": self.config.alpha, "patient": self.config.beta}


METHOD = PatientDistillation
