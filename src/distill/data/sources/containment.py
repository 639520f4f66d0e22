"""Which texts are part of which, word by word: exact, and fast enough for the largest tasks of GLUE.

A text is a sequence of words: runs of letters, digits and underscores (`\\w+`), case-folded, in Unicode's form NFC.
Spaces and punctuation do not count. A text is part of another one where its words stand in it, side by side in the same
order, and they are `MIN_WORDS` or more: shorter texts ("good", "the film") stand in everything and say nothing.
Languages that are written without spaces have one word per clause, so there whole clauses are compared.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np

#: Fewest words of a text that counts as part of another one.
MIN_WORDS = 3

_WORD = re.compile(r"\w+")
# Places that are looked at together: some hundred MB.
_PLACES = 1 << 22


def words(text: str) -> list[str]:
    """The words of a text."""
    return _WORD.findall(unicodedata.normalize("NFC", text).casefold())


class Sequences:
    """Numbers the distinct sequences of words of texts, from 0 in the order in which they come.

    Attributes:
        sequences: the sequences, each a tuple of word numbers; empty for a text without a word.
    """

    def __init__(self) -> None:
        self.sequences: list[tuple[int, ...]] = []
        self._words: dict[str, int] = {}
        self._numbers: dict[tuple[int, ...], int] = {}

    def number(self, text: str) -> int:
        """The number of a text's sequence."""
        sequence = tuple(self._words.setdefault(word, len(self._words)) for word in words(text))
        number = self._numbers.setdefault(sequence, len(self.sequences))
        if number == len(self.sequences):
            self.sequences.append(sequence)
        return number

    def contained(self) -> tuple[np.ndarray, np.ndarray]:
        """`contained` of all sequences."""
        return contained(self.sequences)


def contained(sequences: Sequence[Sequence[int]], shortest: int = MIN_WORDS) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of a sequence and a longer one that holds it.

    Each sequence is looked for only where its rarest run of `shortest` words stands, so the work grows with the number
    of such places, not with the square of the number of sequences.

    Args:
        sequences: distinct sequences of word numbers, from 0.
        shortest: fewest words of a sequence that is looked for.

    Returns:
        (numbers of the parts, numbers of the wholes), int64 of equal length, in order, each pair once.
    """
    lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    flat = np.fromiter((word for sequence in sequences for word in sequence), np.int64, int(lengths.sum()))
    ends = np.cumsum(lengths)
    starts = ends - lengths
    owner = np.repeat(np.arange(len(lengths)), lengths)
    places = np.flatnonzero(np.arange(len(flat)) + shortest <= ends[owner])
    searched = np.flatnonzero(lengths >= shortest)
    if not len(searched):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    runs = _runs(flat, places, shortest)
    counts = np.bincount(runs)
    postings, first = places[np.argsort(runs, kind="stable")], np.cumsum(counts) - counts
    # The rarest run of each sequence: the least of (count, place) among its places, which stand side by side.
    keys = counts[runs] * len(places) + np.arange(len(places))
    sizes = lengths[searched] - shortest + 1
    rarest = np.minimum.reduceat(keys, np.cumsum(sizes) - sizes) % len(places)
    offsets = places[rarest] - starts[searched]
    total = counts[runs[rarest]]
    parts, wholes = [], []
    for chunk in _chunks(total):
        repeated = np.repeat(chunk, total[chunk])
        before = np.repeat(np.cumsum(total[chunk]) - total[chunk], total[chunk])
        place = postings[first[runs[rarest[repeated]]] + np.arange(len(repeated)) - before]
        part, whole, begin = searched[repeated], owner[place], place - offsets[repeated]
        fits = (whole != part) & (begin >= starts[whole]) & (begin + lengths[part] <= ends[whole])
        equal = _equal(flat, starts[part[fits]], begin[fits], lengths[part[fits]])
        parts.append(part[fits][equal])
        wholes.append(whole[fits][equal])
    pairs = np.unique(np.concatenate(parts) * len(lengths) + np.concatenate(wholes))
    return pairs // len(lengths), pairs % len(lengths)


def _runs(flat: np.ndarray, places: np.ndarray, length: int) -> np.ndarray:
    """A number for the run of `length` words at each place: the same for the same words, from 0 on without gaps."""
    vocabulary = int(flat.max()) + 1
    runs = np.zeros(len(places), np.int64)
    for i in range(length):
        # Below (places) · (vocabulary), so far from overflow.
        runs = np.unique(runs * vocabulary + flat[places + i], return_inverse=True)[1]
    return runs


def _chunks(sizes: np.ndarray) -> Iterator[np.ndarray]:
    """The indices of `sizes`, in pieces whose sizes add up to about `_PLACES`."""
    pieces = np.cumsum(sizes) // _PLACES
    yield from np.split(np.arange(len(sizes)), np.flatnonzero(np.diff(pieces)) + 1)


def _equal(flat: np.ndarray, left: np.ndarray, right: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Whether the words from place `left` on are those from `right` on, for each pair of places: bool."""
    result = np.zeros(len(left), bool)
    alive = np.arange(len(left))
    for i in range(int(lengths.max(initial=0))):
        alive = alive[flat[left[alive] + i] == flat[right[alive] + i]]
        ended = lengths[alive] == i + 1
        result[alive[ended]] = True
        alive = alive[~ended]
        if not len(alive):
            break
    return result
