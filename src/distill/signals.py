"""What a method may ask of the teacher: its logits and hidden states, from the cache or computed on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from distill import models
from distill.cache import LogitCache
from distill.models import Outputs
from distill.tasks.base import Task


class Teacher(Protocol):
    """A source of teacher outputs for a padded batch."""

    provides: frozenset[str]

    def __call__(self, batch: dict[str, Tensor]) -> Outputs:
        """Teacher outputs for the batch; no gradient flows into them."""


class CachedTeacher:
    """Logits that an earlier stage wrote; no model is loaded.

    Args:
        folder: the stage's output.
        data: hash of the prepared data that the run trains on; a cache of other data is refused.
        per_token: whether the task's logits have one row per token, or one per feature.
    """

    provides = frozenset({"logits"})

    def __init__(self, folder: Path, data: str, per_token: bool):
        self.cache = LogitCache.open(folder, data)
        self.per_token = per_token

    def __call__(self, batch: dict[str, Tensor]) -> Outputs:
        """Logits of the batch's feature rows (`index`), zeros at padding."""
        rows = batch["index"].tolist()
        logits = self.cache.rows(rows, batch["input_ids"].shape[1] if self.per_token else 1)
        logits = logits if self.per_token else logits[:, 0]
        return Outputs(torch.from_numpy(logits).to(batch["input_ids"].device))


class OnlineTeacher:
    """The teacher itself, frozen: logits, and hidden states and attention scores where asked for.

    It provides `model` too: a method may run it on inputs of its own (see `on_embeddings`).
    """

    def __init__(self, model: PreTrainedModel, task: Task, hidden: bool, precision: str, attention: bool = False):
        self.model = models.freeze(model)
        self.task = task
        self.hidden, self.attention = hidden, attention
        self.precision = precision
        states = {"hidden", "cls"} if hidden else set()
        self.provides = frozenset({"logits", "model"} | states | ({"attention"} if attention else set()))

    @torch.no_grad()
    def __call__(self, batch: dict[str, Tensor]) -> Outputs:
        """One forward pass without gradient."""
        with models.autocast(self._device(batch), self.precision):
            return models.run(self.model, self.task, batch, self.hidden, self.attention)

    def on_embeddings(self, batch: dict[str, Tensor], embeddings: Tensor) -> Outputs:
        """Logits for word embeddings (B, L, D) in place of the batch's tokens.

        The teacher's own weights stay frozen, but gradients pass through it into the embeddings: a generator that
        looks for inputs on which teacher and student differ needs them. Call it under `torch.no_grad()` otherwise.
        """
        with models.autocast(self._device(batch), self.precision):
            return models.run(self.model, self.task, batch, embeddings=embeddings)

    def _device(self, batch: dict[str, Tensor]) -> torch.device:
        device = batch["attention_mask"].device
        if next(self.model.parameters()).device != device:
            self.model.to(device)
        return device
