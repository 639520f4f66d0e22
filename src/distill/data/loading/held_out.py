"""Training rows that a method sets aside to judge the others by, and their batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from distill.data.loading.batches import Collator, Rows


class HeldOut:
    """A share of the training rows, drawn by the seed; which, and their order, depends on nothing else.

    Args:
        features: training features (`datasets.Dataset`), two rows or more.
        labels: names of the label columns.
        pad_token_id: id of the padding token.
        share: share of the rows, above 0 and below 1; at least one row is drawn, and at least one is left.
        seed: seed of the draw and of the order.

    Attributes:
        rows: numbers of the rows among `features`, ascending, int64 (n,).
    """

    def __init__(self, features: Any, labels: Sequence[str], pad_token_id: int, share: float, seed: int):
        self._source = Rows(features, ("input_ids", "token_type_ids", *labels))
        self._collate = Collator(pad_token_id, labels)
        self._seed = seed
        count = min(max(round(share * len(features)), 1), len(features) - 1)
        self.rows = torch.randperm(len(features), generator=self._generator(0))[:count].sort().values

    def batch(self, number: int, size: int) -> dict[str, Tensor]:
        """Batch `number`, counted from 0: pass after pass over the rows, each in another order.

        Args:
            size: rows of every batch; all of them where there are fewer.
        """
        count = len(self.rows)
        size = min(size, count)
        passes = range(number * size // count, ((number + 1) * size - 1) // count + 1)
        order = torch.cat([torch.randperm(count, generator=self._generator(1 + each)) for each in passes])
        start = number * size - passes[0] * count
        return self._collate(self._source.__getitems__(self.rows[order[start : start + size]].tolist()))

    def _generator(self, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(self._seed * 1_000_003 + number)
