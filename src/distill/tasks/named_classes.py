"""What the tasks share whose classes have names: how a model is told them, and their weights in the loss."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self


class NamedClasses:
    """Classes by name.

    Args:
        labels: names of the classes; class i is `labels[i]`. Without any, only the names of scores can be read.

    Raises:
        ValueError: one class.
    """

    name: str

    def __init__(self, labels: Sequence[str]):
        self.classes = tuple(labels)
        if len(self.classes) == 1:
            raise ValueError(f"{self.name} needs two classes or more, not {list(self.classes)}")
        self.channels = len(self.classes)
        self._weights: tuple[float, ...] | None = None

    def weighted(self, weights: Sequence[float]) -> Self:
        """The task with a loss in which each class has its weight, above 0, in the classes' order (see `loss`)."""
        other = copy.copy(self)
        other._weights = tuple(weights)
        return other

    def model_fields(self) -> dict[str, Any]:
        """Number and names of the classes."""
        return {
            "num_labels": self.channels,
            "id2label": dict(enumerate(self.classes)),
            "label2id": {name: i for i, name in enumerate(self.classes)},
        }
