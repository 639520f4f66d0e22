"""A model whose linear layers compute as if in int8, so that training makes its weights bear it.

Quantization-aware training (Jacob et al. 2018, arXiv 1712.05877) by torch's `FakeQuantize`: inputs of linear layers are
rounded as uint8, their weights as int8 with a scale for each output, and gradients pass the rounding unchanged
(straight-through). What is learnt from are the logits of the same model in float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.ao.quantization import FakeQuantize, MovingAverageMinMaxObserver, MovingAveragePerChannelMinMaxObserver
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

from distill.export.quantize import largest
from distill.models.forward import forward_pass
from distill.models.predict import forward_of
from distill.tasks.base import Task
from distill.training.objective import Objective


def _of_inputs() -> FakeQuantize:
    kind = {"dtype": torch.quint8, "qscheme": torch.per_tensor_affine}
    return FakeQuantize(MovingAverageMinMaxObserver, quant_min=0, quant_max=255, **kind)


def _of_weights(bits: int) -> FakeQuantize:
    kind = {"dtype": torch.qint8, "qscheme": torch.per_channel_symmetric, "ch_axis": 0}
    # A weight's range is its present one: 1 is the share of the newest in the moving average.
    observer = MovingAveragePerChannelMinMaxObserver
    return FakeQuantize(observer, quant_min=-largest(bits), quant_max=largest(bits), averaging_constant=1.0, **kind)


@contextlib.contextmanager
def rounded(model: PreTrainedModel, weight_bits: int) -> Iterator[None]:
    """Round inputs and weights of the linear layers of `model` within the block; the trained weights stay in it.

    Embeddings are not rounded: their rounding is small beside that of products, and costs a pass over the whole table.

    Args:
        model: model in float32.
        weight_bits: 7 or 8.
    """
    layers = [layer for layer in model.modules() if type(layer) is nn.Linear]
    hooks = []
    for layer in layers:
        layer.add_module("rounded_input", _of_inputs())
        hooks.append(layer.register_forward_pre_hook(_round_input))
        parametrize.register_parametrization(layer, "weight", _of_weights(weight_bits))
    try:
        yield
    finally:
        for layer, hook in zip(layers, hooks, strict=True):
            hook.remove()
            del layer.rounded_input
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)


def _round_input(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (layer.rounded_input(inputs[0]), *inputs[1:])


class Recovery(Objective):
    """The soft targets of the float32 model for the rounded one; labels do not count.

    Dropout is off in training too: its noise would be many times that of the rounding.

    Args:
        model: rounded model (see `rounded`).
        teacher: the same model in float32, frozen.
        temperature: T of the soft targets (`Task.soft`).
    """

    def __init__(self, model: PreTrainedModel, teacher: PreTrainedModel, task: Task, temperature: float):
        super().__init__()
        self.model, self.task, self.temperature = model, task, temperature
        self._teacher = [teacher]  # no module of this one: neither trained nor saved

    def train(self, mode: bool = True) -> Recovery:
        super().train(False)
        self._follow(mode)
        return self

    def _follow(self, values: bool) -> None:
        """Whether the ranges of inputs and weights follow the values: being scored changes none."""
        for part in self.model.modules():
            if isinstance(part, FakeQuantize):
                (part.enable_observer if values else part.disable_observer)()

    def companions(self) -> Sequence[PreTrainedModel]:
        return self._teacher

    def scored_logits(self, batch: dict[str, Tensor]) -> Tensor:
        self._follow(False)
        try:
            return forward_of(self.model, self.task)(batch)
        finally:
            self._follow(True)

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """`loss` and the one term `kl`."""
        (teacher,) = self._teacher
        with torch.no_grad():
            wanted = forward_pass(teacher.to(batch["input_ids"].device), self.task, batch).logits
        loss = self.task.soft(forward_pass(self.model, self.task, batch).logits, wanted, batch, self.temperature)
        return {"loss": loss, "kl": loss}
