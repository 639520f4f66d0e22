"""Task-aware filters (TED, Liang et al. 2023): small maps of hidden states that keep what the task needs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from distill.config.params import Params
from distill.errors import UserError
from distill.models.forward import forward_pass, freeze, in_eval
from distill.models.layer_maps import Counts
from distill.runtime import checkpoints, json_text
from distill.signals.teacher import CachedStates
from distill.tasks.base import Task
from distill.training.objective import Objective

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "tanh": nn.Tanh}


def selected_layers(num_layers: int, interval: int, role: str) -> list[int]:
    """The layers (from 1) that get a filter: i % interval == 0.

    Raises:
        UserError: no layer does.
    """
    layers = [layer for layer in range(1, num_layers + 1) if layer % interval == 0]
    if not layers:
        raise UserError(
            f"params.yaml: {role}_filters.filter_interval: {interval} selects none of the {role}'s {num_layers} layers:"
            f" choose {num_layers} or less"
        )
    return layers


def selected_filters(count: int, interval: int) -> list[int]:
    """Places (from 0) of every `interval`-th of `count` filters.

    Raises:
        UserError: there are fewer.
    """
    if interval > count:
        raise UserError(
            f"params.yaml: ted.filter_interval: {interval}: there are only {count} pairs of filters: choose {count} or"
            " less, or train more (teacher_filters.filter_interval, student_filters.filter_interval)"
        )
    return list(range(interval - 1, count, interval))


class FilterBank(nn.Module):
    """One filter per selected layer: Linear(D, out), or Linear(D, D) → activation → Linear(D, out).

    Args:
        layers: indices into the hidden states (0 = embeddings).
        width: D, the model's hidden size.
        output_dim: out.
    """

    def __init__(self, layers: list[int], width: int, output_dim: int, nonlinear: bool, activation: str):
        super().__init__()
        self.layers, self.width, self.output_dim = layers, width, output_dim
        self.nonlinear, self.activation = nonlinear, activation
        self.filters = nn.ModuleList(self._filter() for _ in layers)

    def _filter(self) -> nn.Module:
        if not self.nonlinear:
            return nn.Linear(self.width, self.output_dim)
        return nn.Sequential(
            nn.Linear(self.width, self.width),
            ACTIVATIONS[self.activation](),
            nn.Linear(self.width, self.output_dim),
        )

    def forward(self, hidden: Sequence[Tensor] | Mapping[int, Tensor]) -> list[Tensor]:
        """Filtered states, one (B, L, out) per selected layer; `hidden` has (B, L, D) by layer."""
        return [f(hidden[layer]) for layer, f in zip(self.layers, self.filters, strict=True)]

    def every(self, interval: int) -> FilterBank:
        """A bank of every `interval`-th of these filters, the last of each block; the filters are shared.

        Raises:
            UserError: there are fewer.
        """
        chosen = selected_filters(len(self.layers), interval)
        bank = FilterBank([], self.width, self.output_dim, self.nonlinear, self.activation)
        bank.layers = [self.layers[place] for place in chosen]
        bank.filters.extend(self.filters[place] for place in chosen)
        return bank.train(self.training)

    def save(self, folder: Path) -> None:
        """`filters.safetensors`, `config.json` and their hashes; task heads are not part of a bank."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in self.state_dict().items()}, folder / "filters.safetensors")
        names = ("layers", "width", "output_dim", "nonlinear", "activation")
        text = json.dumps({name: getattr(self, name) for name in names}, indent=2)
        (folder / "config.json").write_text(text + "\n", encoding="utf-8")
        checkpoints.seal(folder, checkpoints.CHECKSUMS)

    @classmethod
    def load(cls, folder: Path) -> FilterBank:
        """Read what `save` wrote.

        Raises:
            UserError: files are missing or damaged.
        """
        try:
            if problem := checkpoints.fault(folder, checkpoints.CHECKSUMS):
                raise ValueError(problem)
            bank = cls(**json_text.parse((folder / "config.json").read_text(encoding="utf-8")))
            bank.load_state_dict(load_file(folder / "filters.safetensors"))
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{folder}: the filters cannot be read ({reason}): run `dvc checkout {folder}`, or `dvc repro`; if"
                f" that changes nothing, {checkpoints.restore(folder)}"
            ) from error
        return bank


def check_match(teacher: FilterBank, student: FilterBank) -> None:
    """Raise a UserError naming both numbers where counts or output widths differ."""
    check_counts(teacher.layers, student.layers)
    _check_widths(teacher.output_dim, student.output_dim)


def check_params(params: Params, count: Counts) -> None:
    """`check_match` as far as the parameters allow, hours before the filters exist."""
    _check_widths(params.teacher_filters.filter_output_dim, params.student_filters.filter_output_dim)
    selected = [
        selected_layers(layers, getattr(params, f"{role}_filters").filter_interval, role)
        for role in ("teacher", "student")
        if (layers := count(role, "layers")) is not None
    ]
    if len(selected) == 2:
        check_counts(*selected)


def check_counts(teacher: list[int], student: list[int]) -> None:
    """Raise a UserError where the filters of these layers do not pair off."""
    if len(teacher) != len(student):
        raise UserError(
            f"params.yaml: filter_interval: the teacher has {len(teacher)} filters (layers {teacher}), the student"
            f" {len(student)} (layers {student}): set teacher_filters.filter_interval and"
            " student_filters.filter_interval so that the counts agree"
        )


def _check_widths(teacher: int, student: int) -> None:
    if teacher != student:
        raise UserError(
            f"params.yaml: filter_output_dim: the teacher's filters give {teacher} values, the student's {student}: set"
            " teacher_filters.filter_output_dim and student_filters.filter_output_dim to the same number"
        )


class FilterTraining(Objective):
    """Stage I: the mean over filters of the task loss, each filter with a head of its own, on a frozen backbone.

    The backbone runs once per batch, without gradient, for all filters. It is kept out of the module's own weights,
    so that checkpoints hold filters and heads only.

    Args:
        dropout: leaves the backbone's dropout on, as the official TED code does.
        head_dropout: dropout of the heads (`Task.head`).
        states: cached hidden states of the training features: the backbone then runs only where the selection split
            is scored.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        bank: FilterBank,
        task: Task,
        dropout: bool,
        head_dropout: float,
        states: CachedStates | None = None,
    ):
        super().__init__()
        self.bank = bank
        self.heads = nn.ModuleList(task.head(bank.output_dim, head_dropout) for _ in bank.layers)
        self.task = task
        self._backbone = [freeze(backbone)]
        self._states = states
        if dropout:
            if states is not None:
                raise ValueError("cached states have no dropout")
            backbone.train()

    def companions(self) -> list[PreTrainedModel]:
        """The backbone, which runs along."""
        return self._backbone

    def hidden(self, batch: dict[str, Tensor]) -> Sequence[Tensor]:
        """The backbone's hidden states, without gradient."""
        backbone = self._backbone[0].to(batch["input_ids"].device)
        with torch.no_grad():
            return forward_pass(backbone, self.task, batch, hidden=True).hidden

    def logits(self, hidden: Sequence[Tensor] | Mapping[int, Tensor]) -> list[Tensor]:
        """Task logits of every filter's head."""
        return [head(state) for head, state in zip(self.heads, self.bank(hidden), strict=True)]

    def scored_logits(self, batch: dict[str, Tensor]) -> Tensor:
        """`logits` with all dropout off, stacked on a further last axis: what a selection split is scored with."""
        with in_eval(self._backbone[0]), in_eval(self):
            return torch.stack(self.logits(self.hidden(batch)), -1)

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """`loss` (the mean) and one term per layer."""
        hidden = self.hidden(batch) if self._states is None else self._states(batch)
        terms = {
            f"layer_{layer}": self.task.loss(logits, batch)
            for layer, logits in zip(self.bank.layers, self.logits(hidden), strict=True)
        }
        return {"loss": sum(terms.values()) / len(terms), **terms}
