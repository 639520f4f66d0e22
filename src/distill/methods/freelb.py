"""freelb: FreeLB adversarial training (Zhu et al. 2020, arXiv 1909.11764, algorithm 1), with or without a teacher.

Word embeddings X of the real tokens are moved by δ, in the direction in which the loss grows:

    δ_0 = init_magnitude · u / √N,  u uniform in [−1, 1], N = real tokens · width of the embeddings, row by row
    δ_k = Π(δ_{k−1} + step_size · g_k / ‖g_k‖),  g_k = ∂L(X + δ_{k−1})/∂δ,  Π: onto the ball ‖δ‖ ≤ max_norm
    loss = (1/steps) · Σ_{k=0}^{steps−1} L(X + δ_k),  L = task_weight · task + kl_alpha · soft

Norms run over all numbers of a row. `soft` compares with the teacher's logits on the input as it is; with kl_alpha 0
there is no teacher. MATE-KD (arXiv 2105.05912) lists the two as "FreeLB + KD" and "FreeLB".
Published scripts, SST-2: step 0.1, start 1, ball 0.6, 2 steps (RoBERTa-large) or 3 (ALBERT-xxlarge).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor

from distill.config.params import Params
from distill.config.schema import Count, Section
from distill.losses.weights import ScheduledWeight, Weight
from distill.methods.base import Method, Setup
from distill.models.forward import Outputs, forward_pass
from distill.signals.teacher import Teacher

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# A gradient with a smaller norm has no direction: dividing by the norm would amplify rounding errors.
_NO_DIRECTION = 1e-12


class Config(Section):
    """Section `freelb`."""

    task_weight: Weight
    kl_alpha: Weight
    temperature: Annotated[float, Field(gt=0)]
    steps: Count
    step_size: Annotated[float, Field(ge=0)]
    init_magnitude: Annotated[float, Field(ge=0)]
    max_norm: Annotated[float, Field(ge=0)]
    same_dropout: bool


class FreeLB(Method):
    """The mean loss on inputs that are moved step by step to where it is larger."""

    Config = Config
    needs = frozenset({"logits"})
    on_embeddings = ("student",)

    @classmethod
    def needs_labels(cls, params: Params) -> str:
        """Without a teacher, all is labels."""
        return "" if params.sections["freelb"].kl_alpha.value else "with kl_alpha 0 it learns from labels alone"

    def __init__(self, config: Config, setup: Setup):
        super().__init__(config, setup)
        if not config.kl_alpha.value:
            self.needs = frozenset()

    def compute(self, batch: dict[str, Tensor], student: PreTrainedModel, teacher: Teacher | None) -> dict[str, Tensor]:
        """Means of the terms over the steps; the gradient of their weighted sum is the one that FreeLB accumulates."""
        target = teacher(batch) if self.needs else None
        embeddings = student.get_input_embeddings()(batch["input_ids"])
        real = batch["attention_mask"].bool()
        delta = start(real, embeddings.shape[-1], self.config.init_magnitude).to(embeddings)
        random = _random_state(real.device)
        by_step = []
        for step in range(self.config.steps):
            if step and self.config.same_dropout:
                _restore(random, real.device)
            delta.requires_grad_()
            outputs = forward_pass(student, self.task, batch, embeddings=embeddings + delta)
            by_step.append(self.terms(batch, outputs, target))
            if step < self.config.steps - 1:
                delta = self._moved(delta, by_step[-1], real)
        return {name: torch.stack([terms[name] for terms in by_step]).mean() for name in by_step[0]}

    def _moved(self, delta: Tensor, terms: dict[str, Tensor], real: Tensor) -> Tensor:
        weights = self.weights()
        loss = sum(weights[name].at(self.progress.share) * term for name, term in terms.items())
        # The graph is kept for the gradient of the weights, which Trainer asks for at the end.
        (gradient,) = torch.autograd.grad(loss, delta, retain_graph=True)
        return ascend(delta.detach(), gradient, real, self.config.step_size, self.config.max_norm)

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs | None) -> dict[str, Tensor]:
        """`task`, and `kl` where there is a teacher, of one step."""
        terms = {"task": self.task.loss(student.logits, batch)}
        if teacher is not None:
            terms["kl"] = self.task.soft(student.logits, teacher.logits, batch, self.config.temperature)
        return terms

    def weights(self) -> dict[str, ScheduledWeight]:
        """`task_weight` and `kl_alpha`."""
        return {"task": self.config.task_weight, "kl": self.config.kl_alpha}


def start(real: Tensor, width: int, magnitude: float) -> Tensor:
    """A random perturbation (B, L, width), 0 at padding; random numbers are drawn for real tokens only.

    Args:
        real: bool (B, L).
        magnitude: largest norm that a row can get; the root mean square of the norms is magnitude / √3.
    """
    delta = torch.zeros(*real.shape, width, device=real.device)
    delta[real] = torch.rand(int(real.sum()), width, device=real.device) * 2 - 1
    return delta * (magnitude / (real.sum(1) * width).sqrt())[:, None, None]


def ascend(delta: Tensor, gradient: Tensor, real: Tensor, step_size: float, max_norm: float) -> Tensor:
    """δ + step_size · g/‖g‖, pulled back onto the ball of radius `max_norm` (0: no ball); norms row by row.

    Args:
        delta, gradient: (B, L, D).
        real: bool (B, L); nothing is moved at padding, and nothing there counts for a norm.
    """
    gradient = gradient.float().masked_fill(~real[..., None], 0.0)
    delta = delta + step_size * gradient / _norms(gradient).clamp(min=_NO_DIRECTION)
    if max_norm:
        delta = delta * (max_norm / _norms(delta).clamp(min=max_norm))
    return delta


def _norms(values: Tensor) -> Tensor:
    """Euclidean norm of each row of (B, L, D), as (B, 1, 1)."""
    return values.flatten(1).norm(dim=1)[:, None, None]


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _restore(state: Tensor, device: torch.device) -> None:
    """Draw the same dropout masks again."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


METHOD = FreeLB
