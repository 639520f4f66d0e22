"""How the rows of every batch are dealt to the processes that train together.

Whatever their number, an update is made of the same rows: the order is that of one process, and every batch of it is
dealt out like cards. Batches of about equally long rows thus give every process about as many tokens.

DDP averages the gradients of the processes. Terms that are means over rows are therefore those of one process, up to
rounding. A term that is a mean over tokens is the mean of the processes' means, as it is with gradient accumulation.

accelerate's `BatchSamplerShard` cuts a batch, sorted by length, into slices of unequal work, and fills up the last one
of an epoch with rows of the first one, which makes another update of it than in one process: hence this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from distill.data.loading.batches import EpochSampler, Rows

if TYPE_CHECKING:
    from accelerate.data_loader import DataLoaderShard


class Share(list):
    """Row numbers of one process in a batch.

    Attributes:
        weight: weight of its loss, by which the mean over processes is the mean over the batch's rows: 1 where all
            processes have as many rows; 0 where this one has none and works on another's row to stay in step.
    """

    def __init__(self, rows: list[int], weight: float):
        super().__init__(rows)
        self.weight = weight


class Shares(torch.utils.data.Sampler[Share]):
    """The batches of one process.

    Args:
        sampler: the order of the rows, the same in all processes.
        batch_size: rows of a batch of all processes together.
        rank: number of this process, from 0.
        count: number of processes.
    """

    def __init__(self, sampler: EpochSampler, batch_size: int, rank: int, count: int):
        self.sampler, self.batch_size, self.rank, self.count = sampler, batch_size, rank, count

    def set_epoch(self, epoch: int) -> None:
        """Called by Trainer and by accelerate's data loader."""
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.batch_size)

    def __iter__(self) -> Iterator[Share]:
        order = list(self.sampler)
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            mine = batch[self.rank :: self.count]
            yield Share(mine or batch[:1], len(mine) * self.count / len(batch))


class _Dealt(torch.utils.data.Dataset):
    def __init__(self, rows: Rows):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, share: Share) -> tuple[list[dict], float]:
        return self.rows.__getitems__(list(share)), share.weight


class _Collate:
    def __init__(self, collate: Callable[[list[dict]], dict[str, Tensor]]):
        self.collate = collate

    def __call__(self, dealt: tuple[list[dict], float]) -> dict[str, Tensor]:
        rows, weight = dealt
        return {**self.collate(rows), "weight": torch.tensor(weight)}


def loader(
    rows: Rows, sampler: EpochSampler, collate: Callable, batch_size: int, rank: int, count: int, **options: Any
) -> DataLoaderShard:
    """Batches of one process, each with `weight`: float32, a scalar (see `Share`).

    Args:
        batch_size: rows of a batch of all processes together.
        options: arguments of `DataLoaderShard`, among them `device`.
    """
    from accelerate.data_loader import DataLoaderShard

    shares = Shares(sampler, batch_size, rank, count)
    return DataLoaderShard(_Dealt(rows), batch_sampler=shares, collate_fn=_Collate(collate), **options)
