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
    """Logits that the predict_teacher stage wrote; no model is loaded.

    Args:
        folder: the stage's output.
        data: hash of the prepared data that the run trains on; a cache of other data is refused.
    """

    provides = frozenset({"logits"})

    def __init__(self, folder: Path, data: str):
        self.cache = LogitCache.open(folder, data)

    def __call__(self, batch: dict[str, Tensor]) -> Outputs:
        """Logits of the batch's feature rows (`index`), zeros at padding."""
        rows = batch["index"].tolist()
        logits = self.cache.rows(rows, batch["input_ids"].shape[1])
        return Outputs(torch.from_numpy(logits).to(batch["input_ids"].device))


class OnlineTeacher:
    """The teacher itself, frozen: logits, and hidden states where asked for."""

    def __init__(self, model: PreTrainedModel, task: Task, hidden: bool, precision: str):
        self.model = models.freeze(model)
        self.task = task
        self.hidden = hidden
        self.precision = precision
        self.provides = frozenset({"logits", "hidden"} if hidden else {"logits"})

    @torch.no_grad()
    def __call__(self, batch: dict[str, Tensor]) -> Outputs:
        """One forward pass without gradient."""
        device = batch["input_ids"].device
        if next(self.model.parameters()).device != device:
            self.model.to(device)
        with models.autocast(device, self.precision):
            return models.run(self.model, self.task, batch, self.hidden)
