"""What a task is: how examples become features, which head a model gets, its loss, and how answers are scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn


@dataclass
class Report:
    """What evaluating a model gives.

    Attributes:
        scores: flat, 0–100 unless the name says otherwise.
        files: suffix of the predictions file → JSON content.
    """

    scores: dict[str, float]
    files: dict[str, dict]


class Task(Protocol):
    """A task's model side. All tensors of a batch have B rows, padded to L tokens."""

    name: str
    #: Columns of the features that hold labels; scalars per row.
    labels: tuple[str, ...]
    #: The score by which checkpoints are chosen and methods are compared (higher is better).
    main_metric: str
    #: The scores that tables on the terminal show.
    shown: tuple[str, ...]

    def auto_class(self) -> Any:
        """The transformers Auto class whose head fits."""

    def logits(self, outputs: Any) -> Tensor:
        """The model's outputs as one tensor, (B, L, 2) for question answering."""

    def loss(self, logits: Tensor, batch: dict[str, Tensor], smoothing: float = 0.0) -> Tensor:
        """The task loss, a scalar."""

    def soft(self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor], temperature: float) -> Tensor:
        """Distillation loss between logits, a scalar (`distill.losses.soft`)."""

    def head(self, width: int) -> nn.Module:
        """A fresh head on hidden states (B, L, width) that gives logits like a model's."""

    def score(self, predicted: Any, settings: Any) -> dict[str, float]:
        """Scores of a split (`evaluation.Predicted`), among them `main_metric`."""

    def report(self, selection: Any, validation: Any, settings: Any) -> Report:
        """All scores and prediction files; whatever is tuned is tuned on the selection split."""
