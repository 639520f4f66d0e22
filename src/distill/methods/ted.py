"""ted: task-aware layer-wise distillation (Liang et al. 2023, arXiv 2210.01351), stage II.

`task + kl_alpha · soft + mse_alpha · (1/K) Σ_k mse_tok(g_s^k(h_s[k]), g_t^k(h_t[M(k)]))`: both sides pass the filters
of stage I; the student's filters train on, the teacher's are frozen. The paper sums over K, its code averages, as
here: the paper's α₂ is mse_alpha / K. SQuAD v2: kl_alpha 10, mse_alpha 5000.
`filter_interval` n takes every n-th pair of the filters that stage I has trained. Stage I trains each for itself, up to
the clipping of the common gradient, so variants with other intervals share one stage I. `pairing: reversed` compares
the student's first filter with the teacher's last, and so on, as a control; it is not the paper's.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from distill.config.params import Params
from distill.config.schema import Count, Section
from distill.errors import UserError
from distill.losses.terms import mse_tok
from distill.losses.weights import ScheduledWeight, Weight
from distill.methods.base import Setup
from distill.methods.shared import filters
from distill.methods.shared.soft_targets import SoftTargets
from distill.models.forward import Outputs, freeze
from distill.models.layer_maps import Counts
from distill.signals.states import Reads


class Config(Section):
    """Section `ted`."""

    task_weight: Weight
    kl_alpha: Weight
    mse_alpha: Weight
    temperature: Annotated[float, Field(gt=0)]
    filter_interval: Count
    pairing: Literal["in_order", "reversed"]
    mask: bool


class TaskAwareDistillation(SoftTargets):
    """Task loss, soft targets, and filtered hidden states, layer by layer."""

    Config = Config
    artifacts = ("filters",)
    needs = frozenset({"logits", "hidden"})
    layer_fields = ("filter_interval", "mask")

    @classmethod
    def fits(cls, params: Params, count: Counts) -> None:
        """The filters of both models must come in pairs of one width, as many as `filter_interval` or more."""
        filters.check_params(params, count)
        if layers := count("teacher", "layers"):
            _filtered(params, layers)

    @classmethod
    def reads(cls, params: Params, student: int, teacher: int) -> Reads:
        """Every token, at the layers whose filters of the teacher are used; these run over the cached states.

        None without the mask, because padding is not cached.
        """
        if not params.sections["ted"].mask:
            return Reads()
        return Reads.of("hidden", _filtered(params, teacher))

    def __init__(self, config: Config, setup: Setup):
        super().__init__(config, setup)
        if setup.student_filters is None or setup.teacher_filters is None:
            raise UserError("ted needs the filters of both models: run `dvc repro train_student_filters`")
        filters.check_match(setup.teacher_filters, setup.student_filters)
        self.filters = setup.student_filters.every(config.filter_interval)
        # A list hides the teacher's bank from the module: it is neither trained nor saved with the student.
        self._teacher_filters = [freeze(setup.teacher_filters).every(config.filter_interval)]

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs | None) -> dict[str, Tensor]:
        """`task`, `kl` and `mse` (mean over filters of `losses.mse_tok`)."""
        mask = batch["attention_mask"].bool() if self.config.mask else None
        bank = self._teacher_filters[0].to(student.logits.device)
        with torch.no_grad():
            targets = bank(teacher.hidden)
        if self.config.pairing == "reversed":
            targets = targets[::-1]
        pairs = [mse_tok(s, t, mask) for s, t in zip(self.filters(student.hidden), targets, strict=True)]
        return super().terms(batch, student, teacher) | {"mse": sum(pairs) / len(pairs)}

    def weights(self) -> dict[str, ScheduledWeight]:
        """`task_weight`, `kl_alpha` and `mse_alpha`."""
        return super().weights() | {"mse": self.config.mse_alpha}


def _filtered(params: Params, layers: int) -> list[int]:
    """The teacher's layers whose filters are used.

    Args:
        layers: number of the teacher's layers.
    """
    trained = filters.selected_layers(layers, params.teacher_filters.filter_interval, "teacher")
    return [trained[place] for place in filters.selected_filters(len(trained), params.sections["ted"].filter_interval)]


METHOD = TaskAwareDistillation
