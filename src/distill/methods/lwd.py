"""lwd: layer-wise distillation, the baseline of the TED paper (Liang et al. 2023, arXiv 2210.01351).

`task + kl_alpha · soft + mse_alpha · (1/K) Σ_k mse_tok(h_s[k]·W_k, h_t[map(k)])`, with W_k fresh, trained with the
student and dropped with the method. SQuAD v2: kl_alpha 10, mse_alpha 100.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from distill.config.params import Params
from distill.config.schema import LayerMap, Section
from distill.losses.terms import mse_tok
from distill.losses.weights import ScheduledWeight, Weight
from distill.methods.base import Setup
from distill.methods.shared.soft_targets import SoftTargets
from distill.models import layer_maps
from distill.models.forward import Outputs
from distill.models.layer_maps import Counts
from distill.models.shape import num_layers
from distill.signals.states import Reads


class Config(Section):
    """Section `lwd`."""

    task_weight: Weight
    kl_alpha: Weight
    mse_alpha: Weight
    temperature: Annotated[float, Field(gt=0)]
    layer_map: LayerMap
    mask: bool


class LayerWiseDistillation(SoftTargets):
    """Task loss, soft targets, and hidden states through one linear map per student layer."""

    Config = Config
    copies = True
    needs = frozenset({"logits", "hidden"})
    layer_fields = ("layer_map", "mask")

    @classmethod
    def fits(cls, params: Params, count: Counts) -> None:
        """The layer map must fit both models."""
        if both := layer_maps.both(count):
            layer_maps.resolve(params.sections["lwd"].layer_map, *both, "lwd.layer_map")

    @classmethod
    def reads(cls, params: Params, student: int, teacher: int) -> Reads:
        """Every token, at the layers of the map; none without the mask, because padding is not cached."""
        if not params.sections["lwd"].mask:
            return Reads()
        layers = layer_maps.resolve(params.sections["lwd"].layer_map, student, teacher, "lwd.layer_map")
        return Reads.of("hidden", layers)

    def __init__(self, config: Config, setup: Setup):
        super().__init__(config, setup)
        student = num_layers(setup.student)
        self.layers = layer_maps.resolve(config.layer_map, student, num_layers(setup.teacher), "lwd.layer_map")
        widths = setup.student.hidden_size, setup.teacher.hidden_size
        self.maps = nn.ModuleList(nn.Linear(*widths, bias=False) for _ in range(student))

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs | None) -> dict[str, Tensor]:
        """`task`, `kl` and `mse` (mean over layers of `losses.mse_tok`)."""
        mask = batch["attention_mask"].bool() if self.config.mask else None
        pairs = [
            mse_tok(w(student.hidden[k]), teacher.hidden[layer], mask)
            for k, (w, layer) in enumerate(zip(self.maps, self.layers, strict=True), start=1)
        ]
        return super().terms(batch, student, teacher) | {"mse": sum(pairs) / len(pairs)}

    def weights(self) -> dict[str, ScheduledWeight]:
        """`task_weight`, `kl_alpha` and `mse_alpha`."""
        return super().weights() | {"mse": self.config.mse_alpha}


METHOD = LayerWiseDistillation
