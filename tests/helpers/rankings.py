"""What tests of rankings share: batches of groups, rows and features, and formulas in plain loops in float64."""

from __future__ import annotations

import math

import datasets
import numpy as np
import pyarrow as pa
import torch

from distill.data.features import text_features
from tests.helpers import tiny


def batch(relevance: list[list[float]], seed: int = 0, order: list[int] | None = None) -> dict[str, torch.Tensor]:
    """A batch of groups with these relevances (NaN: none); `order` puts its rows elsewhere."""
    labels = torch.tensor([grade for group in relevance for grade in group])
    group = torch.tensor([40 - 3 * i for i, grades in enumerate(relevance) for _ in grades])
    given = {"labels": labels, "group": group, "index": torch.arange(len(labels))}
    return given if order is None else {name: values[order] for name, values in given.items()}


def groups(given: dict[str, torch.Tensor]) -> list[list[int]]:
    """The rows of each group."""
    found: dict[int, list[int]] = {}
    for row, group in enumerate(given["group"].tolist()):
        found.setdefault(group, []).append(row)
    return list(found.values())


def log_softmax(values: list[float]) -> list[float]:
    total = math.log(sum(math.exp(value) for value in values))
    return [value - total for value in values]


def rows(sizes: list[int], prefix: str = "q", labelled: bool = True) -> list[dict]:
    """Rows of queries with so many passages, the first of which is relevant; another prefix: other queries."""
    shift = 0 if prefix == "q" else 15
    return [
        {
            "id": f"{prefix}{query}/{number}",
            "text": f"w{query + shift} w{query + 1} w{query + 2}",
            "text_pair": " ".join(f"w{(query * 3 + number * k) % 30}" for k in range(1, 3 + (query + number) % 7)),
            "label": float(number == 0) if labelled else math.nan,
            "query": f"{prefix}{query}",
        }
        for query, size in enumerate(sizes)
        for number in range(size)
    ]


def features(given: list[dict]) -> datasets.Dataset:
    """Their features, in the tokens of `tiny.tokenizer`."""
    parts = text_features.encode(given, tiny.tokenizer(), 24, numeric=True, batch_size=5, grouped=True)
    return datasets.Dataset(pa.Table.from_batches([part for part, _ in parts]))


def bounds(sizes: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)])
