"""The teacher's outputs for a method: logits and hidden states, from the cache or computed along with training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from distill.models.forward import Outputs, autocast, forward_pass, freeze
from distill.signals.cache import Cache
from distill.signals.states import Reads, array_name
from distill.tasks.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Teacher(Protocol):
    """A source of teacher outputs for a padded batch."""

    provides: frozenset[str]

    def __call__(self, batch: dict[str, Tensor]) -> Outputs:
        """Teacher outputs for the batch; no gradient flows into them."""


class CachedStates:
    """Hidden states that an earlier stage cached.

    Args:
        cache: holds the states.
        reads: states to read.
    """

    def __init__(self, cache: Cache, reads: Reads):
        self.cache, self.reads = cache, reads

    def __call__(self, batch: dict[str, Tensor]) -> dict[int, Tensor]:
        """States of the batch's feature rows (`index`) by layer, zeros at padding.

        (B, L, D), or (B, 1, D) where only the first token's are read.
        """
        hidden = {layer: self._state("cls", layer, batch)[:, None] for layer in self.reads.cls}
        return hidden | {layer: self._state("hidden", layer, batch) for layer in self.reads.hidden}

    def _state(self, kind: str, layer: int, batch: dict[str, Tensor]) -> Tensor:
        return _read(self.cache, array_name(kind, layer), batch)


def _read(cache: Cache, name: str, batch: dict[str, Tensor]) -> Tensor:
    ids = batch["input_ids"]
    return torch.from_numpy(cache.rows(name, batch["index"].tolist(), ids.shape[1])).to(ids.device)


class CachedTeacher:
    """Logits, and cached hidden states, that an earlier stage wrote; no model is loaded.

    Args:
        logits: cache that holds the array `logits`.
        states: the hidden states that the method reads.
    """

    def __init__(self, logits: Cache, states: CachedStates | None = None):
        self.logits, self.states = logits, states
        reads = states.reads if states else Reads()
        kinds = {"hidden", "cls"} if reads.hidden else {"cls"} if reads.cls else set()
        self.provides = frozenset({"logits"} | kinds)

    def __call__(self, batch: dict[str, Tensor]) -> Outputs:
        """Outputs for the batch's feature rows (`index`), zeros at padding; `hidden` as `CachedStates` gives them."""
        return Outputs(_read(self.logits, "logits", batch), self.states(batch) if self.states else None)


class CachedSnapshots:
    """Logits of checkpoints of the teacher's own training, the fine-tuned teacher the last; no model is loaded.

    Args:
        caches: caches that hold the array `logits`, in the order of the training.
    """

    provides = frozenset({"logits"})

    def __init__(self, caches: Sequence[Cache]):
        self.caches = list(caches)

    def __len__(self) -> int:
        return len(self.caches)

    def __call__(self, batch: dict[str, Tensor]) -> Outputs:
        """The fine-tuned teacher's."""
        return self.of(len(self), batch)

    def of(self, number: int, batch: dict[str, Tensor]) -> Outputs:
        """Logits for the batch's feature rows (`index`), zeros at padding.

        Args:
            number: which checkpoint, from 1.
        """
        return Outputs(_read(self.caches[number - 1], "logits", batch))


class OnlineTeacher:
    """The teacher itself, frozen: logits; hidden states, attention scores, queries, keys and values where asked for.

    It provides `model` too: a method may run it on inputs of its own (see `on_embeddings`).
    """

    def __init__(
        self,
        model: PreTrainedModel,
        task: Task,
        hidden: bool,
        precision: str,
        attention: bool = False,
        qkv: bool = False,
    ):
        self.model = freeze(model)
        self.task = task
        self.hidden, self.attention, self.qkv = hidden, attention, qkv
        self.precision = precision
        states = {"hidden", "cls"} if hidden else set()
        further = {name for name, asked in (("attention", attention), ("qkv", qkv)) if asked}
        self.provides = frozenset({"logits", "model"} | states | further)

    @torch.no_grad()
    def __call__(self, batch: dict[str, Tensor]) -> Outputs:
        """One forward pass without gradient."""
        with autocast(self._device(batch), self.precision):
            return forward_pass(self.model, self.task, batch, self.hidden, self.attention, qkv=self.qkv)

    def on_embeddings(self, batch: dict[str, Tensor], embeddings: Tensor) -> Outputs:
        """Logits, and hidden states where asked for, for word embeddings (B, L, D) in place of the batch's tokens.

        The teacher's own weights stay frozen, but gradients pass through it into the embeddings: a generator that
        looks for inputs on which teacher and student differ needs them. Call it under `torch.no_grad()` otherwise.
        """
        with autocast(self._device(batch), self.precision):
            return forward_pass(self.model, self.task, batch, self.hidden, embeddings=embeddings)

    def _device(self, batch: dict[str, Tensor]) -> torch.device:
        device = batch["attention_mask"].device
        if next(self.model.parameters()).device != device:
            self.model.to(device)
        return device
