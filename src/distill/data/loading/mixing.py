"""Batches that mix labelled rows with unlabelled ones (a transfer set), in numbers that are fixed for every update.

Each of the two is a stream: pass after pass over its rows, in an order that depends on seed and pass alone. Update u
takes the next rows of both. So no row is seen twice before all of its stream are seen once, over epochs too, and a
killed training resumes with the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from distill.data.loading.batches import MEGA_BATCH, EpochSampler


@dataclass(frozen=True)
class Mix:
    """What batches are mixed of.

    Attributes:
        labelled: number of labelled rows, which stand in front of the unlabelled ones; 0: there are none.
        share: share of a batch that is unlabelled, 0 to 1; without labelled rows, the whole batch is.
    """

    labelled: int
    share: float

    def unlabelled_in(self, batch_size: int) -> int:
        """The number of unlabelled rows in a batch of so many."""
        return round(self.share * batch_size) if self.labelled else batch_size

    def epoch(self, rows: int) -> int:
        """The rows that an epoch is counted in, of `rows` in all: the labelled ones, where there are any.

        A training thus has as many updates as without the unlabelled rows.
        """
        return self.labelled or rows


def sampler(
    lengths: np.ndarray, batch_size: int, group: bool, seed: int, mix: Mix | None = None, parts: int = 1
) -> EpochSampler:
    """The order of the rows: `EpochSampler` without a mix, else `MixedSampler`; arguments as there."""
    if mix is None:
        return EpochSampler(lengths, batch_size, group, seed)
    return MixedSampler(lengths, batch_size, group, seed, mix, parts)


class MixedSampler(EpochSampler):
    """Batches of a fixed number of labelled and of unlabelled rows, all full.

    Args:
        lengths: tokens of each row, the labelled ones first.
        batch_size: rows per update.
        group: rows that meet in a batch are about equally long, labelled and unlabelled ones alike.
        mix: numbers of labelled and of unlabelled rows.
        parts: forward passes that an update is split into; each gets its share of the labelled rows, up to one, and
            has them in front, so that processes, which are dealt the rows in turn, do too.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, group: bool, seed: int, mix: Mix, parts: int = 1):
        super().__init__(lengths, batch_size, group, seed)
        sizes = np.asarray(lengths)
        unlabelled = mix.unlabelled_in(batch_size)
        self.updates = -(-mix.epoch(len(sizes)) // batch_size)
        self.parts = parts
        self._labelled = _Stream(sizes[: mix.labelled], 0, batch_size - unlabelled, (seed, 0), group)
        self._unlabelled = _Stream(sizes[mix.labelled :], mix.labelled, unlabelled, (seed, 1), group)

    def __len__(self) -> int:
        return self.updates * self.batch_size

    def __iter__(self) -> Iterator[int]:
        start, stop = self.epoch * self.updates, (self.epoch + 1) * self.updates
        for begin, end in self._windows(start, stop):
            batches = [stream.batches(begin, end) for stream in (self._labelled, self._unlabelled)]
            order = np.arange(end - begin)
            if self.group:
                # Sorted by length so far. The very first batch stays in front: it holds the longest rows.
                kept = int(begin == 0)
                order[kept:] = kept + np.random.default_rng((self.seed, 2, begin)).permutation(end - begin - kept)
            for number in order:
                yield from self._dealt(batches[0][number], batches[1][number])

    def _windows(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Ranges of updates whose rows may be sorted together: no pass of a stream ends within one."""
        bounds = {start, stop}
        streams = (self._labelled, self._unlabelled)
        if self.group:
            bounds |= {cut for stream in streams for cut in stream.cuts(start, stop)}
        ordered = sorted(bounds)
        passes = [stream.updates for stream in streams if stream.each]
        together = max(min(*(updates // 4 for updates in passes), MEGA_BATCH), 1) if self.group else stop - start
        for begin, end in zip(ordered, ordered[1:], strict=False):
            for first in range(begin, end, together):
                yield first, min(first + together, end)

    def _dealt(self, labelled: np.ndarray, unlabelled: np.ndarray) -> Iterator[int]:
        for part in range(self.parts):
            yield from labelled[part :: self.parts].tolist()
            yield from unlabelled[self.parts - 1 - part :: self.parts].tolist()


class _Stream:
    """Pass after pass over rows `first`, `first` + 1 …, `each` of them for every update.

    Args:
        lengths: tokens of each row.
        seed: numbers that no other stream has.
        sort: the rows of updates that are fetched together are sorted by length, the longest first.
    """

    def __init__(self, lengths: np.ndarray, first: int, each: int, seed: tuple[int, int], sort: bool):
        self.lengths, self.first, self.each, self.seed, self.sort = lengths, first, each, seed, sort
        self._number, self._order = -1, np.empty(0, np.int64)

    @property
    def updates(self) -> int:
        """Whole updates in a pass."""
        return len(self.lengths) // self.each

    def batches(self, begin: int, end: int) -> np.ndarray:
        """Row numbers of updates `begin` to before `end`: (updates, each)."""
        if not self.each:
            return np.empty((end - begin, 0), np.int64)
        places, size = (begin * self.each, end * self.each), len(self.lengths)
        passes = range(places[0] // size, -(-places[1] // size))
        rows = np.concatenate([self._pass(number) for number in passes])
        rows = rows[places[0] - passes[0] * size :][: places[1] - places[0]]
        if self.sort:
            rows = rows[np.argsort(-self.lengths[rows], kind="stable")]
        return self.first + rows.reshape(-1, self.each)

    def cuts(self, start: int, stop: int) -> Iterator[int]:
        """Bounds of updates, between `start` and `stop`, that keep apart the rows of one pass and of the next."""
        size = len(self.lengths)
        if not self.each:
            return
        for number in range(start * self.each // size + 1, stop * self.each // size + 1):
            update, left = divmod(number * size, self.each)
            # Where a pass ends within an update, that update stands alone.
            yield from (cut for cut in (update, update + bool(left)) if start < cut < stop)

    def _pass(self, number: int) -> np.ndarray:
        if number != self._number:
            order = np.random.default_rng((*self.seed, number)).permutation(len(self.lengths))
            if number == 0 and self.sort:  # the longest row comes first of all, so that a lack of memory shows at once
                longest = np.flatnonzero(order == self.lengths.argmax())
                order[[0, longest[0]]] = order[[longest[0], 0]]
            self._number, self._order = number, order
        return self._order
