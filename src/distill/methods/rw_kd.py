"""rw_kd: kd whose rows have weights of their own, from the loss of held-out rows (Lu et al., Findings of EMNLP 2021).

Each row i has two losses, f_i = task_weight · task_i and g_i = kl_alpha · soft_i. An update's loss is

    Σ_i (w_i · f_i + v_i · g_i),  w_i = 2 · [∇L · ∇f_i]₊ / S,  v_i = 2 · [∇L · ∇g_i]₊ / S,

with S the sum of all these rectified products, so that all weights add up to 2: where they are alike, this is kd. L is
the task loss of a held-out batch, ∇ the gradient by the student's weights. ∇L · ∇f_i is how much L falls where a trial
step of gradient descent takes a little of f_i along (Ren et al. 2018, arXiv 1803.09050: their weights for one such step
from ε = 0). Rows that would raise L weigh nothing; where all would, the update's loss is 0.

The products of a batch come from one forward-mode derivative of the rows' losses in the direction ∇L: no gradient of a
single row is made. They are computed with dropout off, in float32 also under bf16, and draw no random number.

The held-out rows are a share of the training rows, drawn by the run's seed; in batches of the training they weigh
nothing. As remembered, not checked against the paper's text: a weight for either term of each sample, by a held-out
loss. Its abstract says that a meta-learner, trained together with the student, gives them; here they are Ren et al.'s,
without one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from distill.config.params import Params
from distill.config.schema import Count, Section
from distill.data.loading.held_out import HeldOut
from distill.errors import UserError
from distill.losses.terms import TEACHER_WEIGHT
from distill.losses.weights import ScheduledWeight, Weight
from distill.methods.base import Method, Setup
from distill.models import layer_maps
from distill.models.forward import forward_pass, in_eval, uncompiled
from distill.signals.teacher import Teacher
from distill.tasks.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# The weights of the rows of one term add up to 1 where both terms count the same.
_SUM = 2.0


class Config(Section):
    """Section `rw_kd`."""

    task_weight: Weight
    kl_alpha: Weight
    temperature: Annotated[float, Field(gt=0)]
    held_out: Annotated[float, Field(gt=0, lt=1)]
    held_out_batch: Count


class ReweightedDistillation(Method):
    """Task loss and soft targets, weighed row by row by what they do to the loss of held-out rows."""

    Config = Config
    needs = frozenset({"logits"})
    unfit = {"ranking": "a passage has no loss of its own to weigh: its query's passages have one together"}

    @classmethod
    def check(cls, params: Params) -> None:
        """Besides `fits`: no kernel without forward-mode derivatives may compute the student's attention."""
        super().check(params)
        model = params.teacher.model if layer_maps.is_copied(params) else params.student.model
        kind = layer_maps.configured(model).get("model_type")
        # The kernel leaves other architectures as they are; a checkpoint of the hub may be of any.
        if params.runtime.attention == "disentangled_flash" and kind in ("deberta-v2", None):
            raise UserError(
                "params.yaml: runtime.attention: 'disentangled_flash' has no forward-mode derivative, by which rw_kd"
                " weighs rows: set it to auto, or take rw_kd out of `methods`"
            )

    @classmethod
    def needs_labels(cls, params: Params) -> str:
        """The held-out loss is that of labels."""
        return "it weighs rows by the loss of held-out rows with labels"

    def __init__(self, config: Config, setup: Setup):
        super().__init__(config, setup)
        if setup.features is None or len(setup.features) < 2:
            raise UserError("rw_kd holds training rows out, and needs two or more: give it more data.train")
        self.held_out = HeldOut(
            setup.features, setup.task.labels, setup.tokenizer.pad_token_id, config.held_out, setup.seed
        )
        self.register_buffer("held", self.held_out.rows, persistent=False)
        self._total = len(setup.features)

    def remarks(self, params: Params, epochs: float) -> list[str]:
        """How many rows are held out."""
        return [f"rw_kd holds {len(self.held):,} of {self._total:,} training rows out: it judges the others by them"]

    def compute(self, batch: dict[str, Tensor], student: PreTrainedModel, teacher: Teacher) -> dict[str, Tensor]:
        """`task` and `kl`, sums over rows with their weights; `task_share`, the share of all weight that `task` has."""
        target = teacher(batch).logits
        weights = self.row_weights(batch, student, target)
        rows = self._rows(forward_pass(student, self.task, batch).logits, target, batch)
        task, kl = (weights * rows).sum(1)
        return {"task": task, "kl": kl, "task_share": weights[0].sum() / weights.sum().clamp(min=1e-12)}

    def row_weights(self, batch: dict[str, Tensor], student: PreTrainedModel, target: Tensor) -> Tensor:
        """w and v of the rows of a batch: float32, (2, B), without gradient.

        Args:
            target: the teacher's logits for the batch.

        Raises:
            UserError: an operation of the student has no forward-mode derivative.
        """
        device = batch["input_ids"].device
        with in_eval(student), torch.autocast(device.type, enabled=False):
            slopes = self._slopes(batch, student, target, _direction(student, self.task, self._held_out(device)))
        scale = [self.config.task_weight, self.config.kl_alpha]
        slopes = slopes * torch.tensor([[weight.at(self.progress.share)] for weight in scale], device=device)
        slopes = slopes.clamp(min=0.0).masked_fill(torch.isin(batch["index"], self.held), 0.0)
        total = slopes.sum()
        return _SUM * slopes / torch.where(total > 0, total, 1.0)

    def _held_out(self, device: torch.device) -> dict[str, Tensor]:
        """The held-out batch of the present step; the parts of an update that is split up have the same."""
        batch = self.held_out.batch(self.progress.step, self.config.held_out_batch)
        return {name: value.to(device) for name, value in batch.items()}

    def _slopes(
        self, batch: dict[str, Tensor], student: PreTrainedModel, target: Tensor, direction: dict[str, Tensor]
    ) -> Tensor:
        """The derivatives of the rows' losses (2, B) in a direction of the student's weights."""
        # The fused attention kernels have no forward-mode derivative.
        with torch.no_grad(), sdpa_kernel([SDPBackend.MATH]), uncompiled(student), forward_ad.dual_level():
            weights = dict(student.named_parameters())
            duals = {
                f"model.{name}": forward_ad.make_dual(weights[name].detach(), tangent)
                for name, tangent in direction.items()
            }
            try:
                logits = torch.func.functional_call(_Logits(student, self.task), duals, (batch,))
                slopes = forward_ad.unpack_dual(self._rows(logits, target, batch)).tangent
            except NotImplementedError as error:
                raise UserError(
                    f"params.yaml: methods: 'rw_kd': the student, a {student.config.model_type}, computes something"
                    f" without a forward-mode derivative ({str(error).splitlines()[0]}): take it out of methods"
                ) from error
        return torch.zeros(2, len(logits), device=logits.device) if slopes is None else slopes

    def _rows(self, logits: Tensor, target: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Task loss and soft targets of each row, unweighted: float32, (2, B)."""
        task = [
            self.task.loss(logits[row : row + 1], {name: value[row : row + 1] for name, value in batch.items()})
            for row in range(len(logits))
        ]
        soft = self.task.soft_rows(logits, target, batch, self.config.temperature)
        return torch.stack((torch.stack(task), soft * batch.get(TEACHER_WEIGHT, 1.0)))

    def weights(self) -> dict[str, ScheduledWeight]:
        """`task_weight` and `kl_alpha`; `task_share` is for the curves alone."""
        nothing = ScheduledWeight(value=0.0, schedule="constant", warmup=0.0)
        return {"task": self.config.task_weight, "kl": self.config.kl_alpha, "task_share": nothing}


class _Logits(nn.Module):
    """A model's logits for a batch, as a module whose weights can be replaced for a call."""

    def __init__(self, model: PreTrainedModel, task: Task):
        super().__init__()
        self.model, self.task = model, task

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return forward_pass(self.model, self.task, batch).logits


def _direction(student: PreTrainedModel, task: Task, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The gradient of the task loss by the student's weights, by name, scaled to length 1; empty where it is 0."""
    weights = {name: weight for name, weight in student.named_parameters() if weight.requires_grad}
    with torch.enable_grad():
        loss = task.loss(forward_pass(student, task, batch).logits, batch)
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    found = {name: gradient for name, gradient in zip(weights, gradients, strict=True) if gradient is not None}
    length = torch.stack([gradient.square().sum() for gradient in found.values()]).sum().sqrt()
    return {name: gradient / length for name, gradient in found.items()} if length > 0 else {}


METHOD = ReweightedDistillation
