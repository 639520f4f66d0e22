"""Padded batches of stored features (which have no padding), and their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# Tensor cores and vector units like multiples of 8; the number of distinct shapes stays small.
MULTIPLE = 8
# The label of a token that has none.
UNLABELLED = -100

# Batches that are sorted by length together (fewer in small data: a quarter of all). More pad less and mix less: of the
# tokens of SQuAD v2.0 at batch 16, 20 batches pad 6.3%, 50 pad 3.7%, 100 pad 2.9%, all together 2.0% (the multiple
# of 8 alone), but then the same rows meet in every epoch. 50 is also what transformers takes.
MEGA_BATCH = 50


class Collator:
    """Pads feature rows to the longest of the batch, rounded up to a multiple of 8.

    The batch has `input_ids`, `attention_mask`, `token_type_ids` where stored, the task's labels (int64 or float32,
    (B,); (B, C) float32 where a row may have several of C classes; int64 (B, L), padded with -100, where each token has
    one), `index`: each row's number in the features, by which cached teacher outputs are found, and the columns `extra`
    (one number per token, padded with -1).
    """

    def __init__(self, pad_token_id: int, labels: Sequence[str], extra: Sequence[str] = ()):
        self.fills = {"input_ids": pad_token_id, "token_type_ids": 0, **dict.fromkeys(extra, -1)}
        self.labels, self.extra = tuple(labels), tuple(extra)

    def __call__(self, rows: list[dict]) -> dict[str, Tensor]:
        """Rows of the features, as `datasets` gives them, to a batch."""
        lengths = np.array([len(row["input_ids"]) for row in rows])
        width = -(-int(lengths.max()) // MULTIPLE) * MULTIPLE
        real = np.arange(width) < lengths[:, None]
        batch = {"attention_mask": torch.from_numpy(real.astype(np.int64))}
        for name, fill in self.fills.items():
            if name in rows[0]:
                padded = np.full((len(rows), width), fill, np.int64)
                padded[real] = np.concatenate([np.asarray(row[name]) for row in rows])
                batch[name] = torch.from_numpy(padded)
        for name in (*self.labels, "index"):
            # Numbers of classes are labels of tokens; 0.0 and 1.0 say which of several classes a row has.
            if name in rows[0] and isinstance(rows[0][name], list) and isinstance(rows[0][name][0], int):
                padded = np.full((len(rows), width), UNLABELLED, np.int64)
                padded[real] = np.concatenate([np.asarray(row[name]) for row in rows])
                batch[name] = torch.from_numpy(padded)
            elif name in rows[0]:
                batch[name] = torch.tensor([row[name] for row in rows])
        return batch


class Rows(torch.utils.data.Dataset):
    """Feature rows with their number as `index`; fetches a whole batch at once.

    Args:
        features: a `datasets.Dataset`.
        columns: the columns that batches need.
    """

    def __init__(self, features, columns: Sequence[str]):
        keep = [name for name in columns if name in features.column_names]
        self.features = features.select_columns(keep)
        self.lengths = np.asarray(features.data.column("length"))

    @property
    def rows_each(self) -> float:
        """Rows of an item: 1."""
        return 1.0

    def padding(self, order: Sequence[int] | np.ndarray, batch_size: int) -> Padding:
        """`padding` of these rows."""
        return padding(order, self.lengths, batch_size)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[dict]:
        columns = self.features[indices]
        return [
            {"index": index, **{name: values[i] for name, values in columns.items()}} for i, index in enumerate(indices)
        ]


class Padding(NamedTuple):
    """What batches hold: real tokens, and padded positions beside them."""

    tokens: int
    padded: int

    @property
    def share(self) -> float:
        """Padded positions among all, 0 to 1; 0 where there are none at all."""
        return self.padded / max(self.tokens + self.padded, 1)


def padding(order: Sequence[int] | np.ndarray, lengths: np.ndarray, batch_size: int) -> Padding:
    """How much `Collator` pads where rows come in `order`.

    Args:
        order: row numbers, (rows,), such as `list(EpochSampler(…))`; a part of an epoch is fine.
        lengths: tokens of each row that `order` may name, int, (all rows,).
        batch_size: rows per forward pass. With gradient accumulation that is fewer than rows per update.
    """
    ordered = np.asarray(lengths, dtype=np.int64)[np.asarray(order, dtype=np.int64)]
    if not len(ordered):
        return Padding(0, 0)
    starts = np.arange(0, len(ordered), batch_size)
    longest = np.maximum.reduceat(ordered, starts)
    rows = np.diff(np.append(starts, len(ordered)))
    tokens = int(ordered.sum())
    return Padding(tokens, int((rows * (-(-longest // MULTIPLE) * MULTIPLE)).sum()) - tokens)


class EpochSampler(torch.utils.data.Sampler[int]):
    """A fresh order in every epoch that depends on seed and epoch alone, so that a resumed run sees the same.

    Args:
        lengths: tokens of each row.
        batch_size: rows per update; with `group`, that many neighbours are about equally long.
        group: group rows by length (transformers' mega-batches, see `MEGA_BATCH`), so that little is spent on padding;
            the number of rows per update stays the same.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, group: bool, seed: int):
        self.lengths = lengths.tolist()
        self.batch_size, self.group, self.seed, self.epoch = batch_size, group, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate's data loader."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        if not self.group:
            yield from torch.randperm(len(self.lengths), generator=generator).tolist()
            return
        # transformers takes seconds to import, and every stage imports this module with the methods.
        from transformers.trainer_pt_utils import get_length_grouped_indices

        together = max(min(len(self.lengths) // (4 * self.batch_size), MEGA_BATCH), 1)
        order = get_length_grouped_indices(self.lengths, self.batch_size, together, generator)
        # Mega-batches are sorted within: shuffle whole batches, so that length does not follow a saw-tooth. The
        # first batch stays in front: it holds the longest rows, so that a lack of memory shows at once.
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        whole = [i for i in range(1, len(batches)) if len(batches[i]) == self.batch_size]
        for i in [0, *(whole[j] for j in torch.randperm(len(whole), generator=generator).tolist())]:
            yield from batches[i]
        if len(batches) > 1 and len(batches[-1]) < self.batch_size:
            yield from batches[-1]
