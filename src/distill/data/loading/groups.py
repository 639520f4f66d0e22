"""Rows that belong together, such as the passages of a query: batches are made of whole groups.

The units of a training's batches, epochs and orders are then groups, so that everything that draws, mixes or deals out
rows (`batches.EpochSampler`, `mixing`, `sharding`, gradient accumulation) does so with groups, and can cut none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distill.data.loading.batches import MULTIPLE, Padding, Rows

#: The column of features and batches: the number of a row's group, int; rows of a group are neighbours.
GROUP = "group"


def bounds(features: Any) -> np.ndarray:
    """Where each group begins, and the number of rows at the end: int64, (groups + 1,).

    Args:
        features: features of a split, or those of several splits, one after another (`datasets.Dataset`). Each split
            counts its groups from 0 and its examples upwards, by which the end of a split shows.
    """
    group, example = (np.asarray(features.data.column(name).to_numpy()) for name in (GROUP, "example_index"))
    if not len(group):
        return np.zeros(1, np.int64)
    begins = (group[1:] != group[:-1]) | (example[1:] <= example[:-1])
    return np.concatenate([[0], np.flatnonzero(begins) + 1, [len(group)]]).astype(np.int64)


class GroupedRows(Rows):
    """Feature rows by groups: item i is all rows of group i, with i in their column `group`.

    Args:
        features, columns: as for `Rows`.

    Attributes:
        lengths: tokens of the longest row of each group, (groups,), by which groups are sorted.
    """

    def __init__(self, features: Any, columns: Sequence[str]):
        super().__init__(features, columns)
        self.bounds, self.tokens = bounds(features), self.lengths.astype(np.int64)
        self.lengths = np.maximum.reduceat(self.tokens, self.bounds[:-1]) if len(self.tokens) else self.tokens

    @property
    def rows_each(self) -> float:
        """Rows of a group, on average."""
        return len(self.tokens) / max(len(self), 1)

    def __getitem__(self, index: int) -> list[dict]:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> list[dict]:
        """The rows of these groups, one group after another."""
        numbers = [np.arange(self.bounds[i], self.bounds[i + 1]) for i in indices]
        rows = super().__getitems__(np.concatenate(numbers).tolist())
        groups = np.repeat(indices, [len(part) for part in numbers]).tolist()
        return [row | {GROUP: group} for row, group in zip(rows, groups, strict=True)]

    def padding(self, order: Sequence[int] | np.ndarray, batch_size: int) -> Padding:
        """`batches.padding` of groups in an order: `batch_size` counts groups."""
        order, counts = np.asarray(order, np.int64), np.diff(self.bounds)
        if not len(order):
            return Padding(0, 0)
        starts = np.arange(0, len(order), batch_size)
        longest = np.maximum.reduceat(self.lengths[order], starts).astype(np.int64)
        rows = np.add.reduceat(counts[order], starts)
        tokens = int(np.add.reduceat(self.tokens, self.bounds[:-1])[order].sum())
        return Padding(tokens, int((rows * (-(-longest // MULTIPLE) * MULTIPLE)).sum()) - tokens)
