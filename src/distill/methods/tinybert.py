"""tinybert: task distillation in two phases (TinyBERT, Jiao et al. 2020, arXiv 1909.10351).

Phase 1: `attention_weight · Σ_k att(A_s[k], A_t[map(k)]) + hidden_weight · Σ_k mse_tok(h_s[k]·W, h_t[map(k)])`. A are
the attention scores before the softmax, values ≤ −100 set to 0 on both sides; `att` is their squared difference, mean
over heads and over pairs of real tokens. The hidden states are those of the embeddings (k = 0, on the teacher's
embeddings) and of every layer; W is one linear map for all, without bias, trained with the student and dropped. Sums
over k are the paper's, whose λ are all 1.

Phase 2: `soft_weight · soft` at T = 1: the soft cross-entropy up to the teacher's entropy, so with its gradient. For
regression the paper takes the gold labels: the task loss. Neither attention nor hidden states are computed then.

Published: intermediate layers 20 epochs (10 on the large tasks, 50 on CoLA), learning rate 5e-5, batch 32; prediction
layer 3 epochs, learning rate 1e-5 to 3e-5, batch 16 or 32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from distill.config.params import Params
from distill.config.schema import LayerMap, Section, Training
from distill.losses.terms import mse_tok
from distill.losses.weights import ScheduledWeight, Weight
from distill.methods.base import Method, Setup
from distill.methods.shared.attention import check_heads, check_kernel
from distill.models import attention_scores, layer_maps
from distill.models.forward import Outputs, forward_pass
from distill.models.layer_maps import Counts
from distill.models.shape import num_layers
from distill.signals.teacher import OnlineTeacher, Teacher
from distill.training.objective import Phase

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Scores at or below it mark what may not be attended to; how far below differs between architectures.
FLOOR = -1e2


class Config(Section):
    """Section `tinybert`."""

    phase1_share: Annotated[float, Field(gt=0, lt=1)]
    phase2_learning_rate: Annotated[float, Field(gt=0)] | None
    attention_weight: Weight
    hidden_weight: Weight
    soft_weight: Weight
    temperature: Annotated[float, Field(gt=0)]
    layer_map: LayerMap
    heads: Literal["match", "mean"]
    mask: bool


class TinyBert(Method):
    """Attention scores and hidden states first, then soft targets (regression: labels)."""

    Config = Config
    copies = True
    needs = frozenset({"logits", "hidden", "attention", "model"})
    layer_fields = ("layer_map", "heads")

    @classmethod
    def check(cls, params: Params) -> None:
        """Besides `fits`: no kernel may hide the attention scores."""
        super().check(params)
        check_kernel(params, "tinybert", "scores")

    @classmethod
    def fits(cls, params: Params, count: Counts) -> None:
        """Numbers of heads must agree where heads are compared one by one, and the layer map must fit both models."""
        config = params.sections["tinybert"]
        if heads := layer_maps.both(count, "heads"):
            check_heads("tinybert", config.heads, *heads)
        if layers := layer_maps.both(count):
            layer_maps.resolve(config.layer_map, *layers, "tinybert.layer_map")

    @classmethod
    def needs_labels(cls, params: Params) -> str:
        """Phase 2 of a regression learns from labels."""
        return "on regression its second phase learns from labels alone" if params.task == "regression" else ""

    def __init__(self, config: Config, setup: Setup):
        super().__init__(config, setup)
        check_heads("tinybert", config.heads, setup.student.num_attention_heads, setup.teacher.num_attention_heads)
        counts = num_layers(setup.student), num_layers(setup.teacher)
        self.layers = layer_maps.resolve(config.layer_map, *counts, "tinybert.layer_map")
        self.map = nn.Linear(setup.student.hidden_size, setup.teacher.hidden_size, bias=False)

    def phases(self, training: Training) -> list[Phase]:
        """Phase 1 trains no head, so that there is nothing to score in it."""
        share, rate = self.config.phase1_share, self.config.phase2_learning_rate
        return [
            Phase("intermediate layers", share, {"evaluations": 0, "keep": "last"}),
            Phase("prediction", 1 - share, {"learning_rate": rate} if rate else {}, not self.task.has_classes),
        ]

    def compute(self, batch: dict[str, Tensor], student: PreTrainedModel, teacher: Teacher) -> dict[str, Tensor]:
        """Phase 1: `attention` and `hidden`. Phase 2: `soft`, for regression `task`."""
        if self.phase == 0:
            outputs = forward_pass(student, self.task, batch, hidden=True, attention=True)
            return self._intermediate(batch, outputs, teacher(batch))
        # Phase 1 sets this kind of attention; a run that resumes in phase 2 skips phase 1.
        attention_scores.prepare(student)
        logits = forward_pass(student, self.task, batch).logits
        if not self.task.has_classes:
            return {"task": self.task.loss(logits, batch)}
        attention_scores.prepare(teacher.model)
        target = OnlineTeacher(teacher.model, self.task, hidden=False, precision=teacher.precision)(batch).logits
        return {"soft": self.task.soft(logits, target, batch, self.config.temperature)}

    def _intermediate(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs) -> dict[str, Tensor]:
        mask = batch["attention_mask"].bool() if self.config.mask else None
        states = [
            mse_tok(self.map(student.hidden[k]), teacher.hidden[layer], mask)
            for k, layer in enumerate([0, *self.layers])
        ]
        gaps = [
            self._score_gap(scores, teacher.attention[layer - 1], mask)
            for scores, layer in zip(student.attention, self.layers, strict=True)
        ]
        return {"attention": sum(gaps), "hidden": sum(states)}

    def _score_gap(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """Mean squared difference of scores (B, heads, L, L); with a mask over pairs of real tokens only."""
        # Replaced before anything is calculated with them: the lowest float32 squared is infinite.
        student, teacher = (torch.where(x.float() <= FLOOR, 0.0, x.float()) for x in (student, teacher.detach()))
        if self.config.heads == "mean":
            student, teacher = student.mean(1, keepdim=True), teacher.mean(1, keepdim=True)
        squared = (student - teacher).square().mean(1)
        if mask is None:
            return squared.mean()
        pairs = mask.unsqueeze(1) & mask.unsqueeze(2)
        return squared.masked_fill(~pairs, 0.0).sum() / pairs.sum()

    def weights(self) -> dict[str, ScheduledWeight]:
        """`attention_weight`, `hidden_weight`; in regression, `soft_weight` weighs the labels."""
        config = self.config
        final = {"soft": config.soft_weight, "task": config.soft_weight}
        return {"attention": config.attention_weight, "hidden": config.hidden_weight, **final}


METHOD = TinyBert
