"""Scores on resampled examples, for many runs and many resamples at once, and exactly: no score is approximated.

A resample is given by how often it holds each example. Counts are float64, (n, R): examples × resamples; where examples
are drawn by groups, a resample has as many groups as the split, and more or fewer examples. A score maps counts to
(runs, R); a column of ones is the whole split. Means, Pearson's correlation, F1 (of several labels too) and Matthews
correlation follow from sums over the resample, which are matrix products; Spearman's needs ranks within each resample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np

from distill.analysis import label_sets
from distill.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

# Numbers worked on at once: bounds the memory (16 MB an array).
_CHUNK = 2_000_000


class Score(Protocol):
    """A score of several runs on the same examples.

    Attributes:
        examples: number of examples, n.
    """

    examples: int

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """Scores (runs, R) on resamples (n, R), in the unit of metrics/runs."""


def draws(examples: int, resamples: int, seed: int, groups: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Counts of resamples drawn with replacement, in parts: (n, at most what memory allows).

    The same numbers and seed give the same counts. Groups that hold one example each give those without groups.

    Args:
        groups: group of each example, (n,), anything that sorts. As many groups are drawn as there are, whole: a
            resample may have more or fewer than n examples. None: each example is drawn by itself.
    """
    units, group_of = examples, None
    if groups is not None:
        names, group_of = np.unique(groups, return_inverse=True)
        units = len(names)
        if units == examples:
            group_of = None
    generator = np.random.default_rng(seed)
    most = max(1, _CHUNK // examples)
    for start in range(0, resamples, most):
        count = min(most, resamples - start)
        drawn = generator.integers(0, units, (units, count))
        place = (drawn * count + np.arange(count)).ravel()
        counts = np.bincount(place, minlength=units * count).reshape(units, count).astype(np.float64)
        yield counts if group_of is None else counts[group_of]


def score_of(metric: str, tables: Sequence[pd.DataFrame], classes: Sequence[str] = ()) -> Score:
    """The score `metric` of runs whose tables (`distill.analysis.example_table`) are given.

    Args:
        classes: names of the classes in order, which F1 and Matthews correlation of classification need.

    Raises:
        UserError: the tables lack the columns for this score.
    """
    if all(metric in table for table in tables):
        return Mean(np.array([table[metric] for table in tables]))
    if metric in _OF_COUNTS and all("entities" in table for table in tables):
        factor, above, below = _OF_COUNTS[metric]
        columns = [[table[list(names)].sum(axis=1) for table in tables] for names in (above, below)]
        return Ratio(*np.array(columns), factor)
    if metric in ("pearson", "spearman"):
        kind = Pearson if metric == "pearson" else Spearman
        return kind(tables[0]["gold"].to_numpy(), np.array([table["predicted"] for table in tables]))
    number = {name: k for k, name in enumerate(classes)}
    if metric in _OF_SETS and label_sets.are(tables[0]):
        gold, *predicted = (
            label_sets.matrix(column, number)
            for column in (tables[0]["gold"], *(table["predicted"] for table in tables))
        )
        return _OF_SETS[metric](gold, predicted)
    if metric in _OF_CLASSES:
        kind = _OF_CLASSES[metric]
        predicted = np.array([table["predicted"].map(number) for table in tables])
        return kind(tables[0]["gold"].map(number).to_numpy(), predicted, len(classes))
    raise UserError(f"evaluate.metric: {metric!r}: data/predictions has no such score: run `dvc repro`")


def columns_of(metric: str, table: pd.DataFrame) -> list[str]:
    """The columns of a table of examples that `score_of` reads for a score."""
    if metric in table:
        return [metric]
    if metric in _OF_COUNTS and "entities" in table:
        _, above, below = _OF_COUNTS[metric]
        return list(dict.fromkeys([*above, *below]))
    return [name for name in ("gold", "predicted", label_sets.MARK) if name in table]


class Mean:
    """The mean of a score that each example has.

    Args:
        values: (runs, n).
    """

    def __init__(self, values: np.ndarray):
        self._values, self.examples = values.astype(np.float64), values.shape[1]

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """(n, R) → (runs, R)."""
        return self._values @ counts / counts.sum(0)


class Ratio:
    """A score that is one sum over the other: precision, recall and F1 of entities, accuracy of words; 0 to 100.

    Args:
        above, below: (runs, n). factor: 100, or 200 where the sum above counts twice.
    """

    def __init__(self, above: np.ndarray, below: np.ndarray, factor: float):
        self._above, self._below, self.examples = factor * above.astype(float), below.astype(float), above.shape[1]

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """(n, R) → (runs, R)."""
        return _ratio(self._above @ counts, self._below @ counts)


class Pearson:
    """Pearson's correlation, -100 to 100, 0 where a side is constant in the resample.

    Args:
        gold: (n,). predicted: (runs, n).
    """

    def __init__(self, gold: np.ndarray, predicted: np.ndarray):
        self.examples = len(gold)
        # Centred on the whole split: the squares below then lose no digits to a large mean.
        gold, predicted = (x - x.mean(-1, keepdims=True) for x in (gold.astype(float), predicted.astype(float)))
        self._gold, self._predicted = gold, predicted
        # Below this a variance is rounding, that is 0.
        self._least = 1e-14 * (gold**2).mean(), 1e-14 * (predicted**2).mean(1)[:, None]

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """(n, R) → (runs, R)."""
        gold, predicted, n = self._gold, self._predicted, counts.sum(0)
        mean_gold, mean = gold @ counts / n, predicted @ counts / n
        covariance = (predicted * gold) @ counts / n - mean * mean_gold
        variance_gold = gold**2 @ counts / n - mean_gold**2
        variance = predicted**2 @ counts / n - mean**2
        exists = (variance_gold > self._least[0]) & (variance > self._least[1])
        return _ratio(100 * covariance, np.sqrt(np.maximum(variance * variance_gold, 0)), exists)


class Spearman:
    """Spearman's rank correlation, -100 to 100, 0 where a side is constant in the resample.

    Equal values share their mean rank, so an example that was drawn twice counts as a tie.

    Args:
        gold: (n,). predicted: (runs, n).
    """

    def __init__(self, gold: np.ndarray, predicted: np.ndarray):
        self.examples = len(gold)
        self._gold, self._predicted = _Ranks(gold), [_Ranks(row) for row in predicted]

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """(n, R) → (runs, R)."""
        n = counts.sum(0)
        centre = n * ((n + 1) / 2) ** 2  # n · (mean rank)²
        gold, squares_gold = self._gold(counts)
        weighted = counts * gold
        correlations = []
        for ranks_in in self._predicted:
            ranks, squares = ranks_in(counts)
            product = np.einsum("nr,nr->r", weighted, ranks) - centre
            spread = (squares - centre) * (squares_gold - centre)
            correlations.append(_ratio(100 * product, np.sqrt(np.maximum(spread, 0)), spread > 0.1))
        return np.array(correlations)


class _Ranks:
    """Mean ranks of fixed values (n,) within resamples."""

    def __init__(self, values: np.ndarray):
        _, self._group = np.unique(values, return_inverse=True)
        self._order = np.argsort(self._group, kind="stable")
        self._starts = np.flatnonzero(np.diff(self._group[self._order], prepend=-1))

    def __call__(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, R) → each example's rank (n, R), and the sum of squared ranks over the resample (R,)."""
        size = counts[self._order]
        if len(self._starts) < len(size):
            size = np.add.reduceat(size, self._starts, axis=0)
        rank = size.copy()
        for before, row in pairwise(rank):  # numpy's own cumsum down the columns takes several times as long
            row += before
        rank -= (size - 1) / 2
        return rank[self._group], np.einsum("gr,gr,gr->r", size, rank, rank)


class _Confusion:
    """Counts of classes within resamples, from which F1 and Matthews correlation follow.

    Args:
        gold: (n,) numbers of classes. predicted: (runs, n). classes: number of classes.
    """

    def __init__(self, gold: np.ndarray, predicted: np.ndarray, classes: int):
        from scipy.sparse import csc_array

        runs, self.examples = predicted.shape
        self._shape = runs, classes

        def indicator(run: np.ndarray, example: np.ndarray, label: np.ndarray, rows: int) -> csc_array:
            return csc_array(
                (np.ones(len(label)), (run * classes + label, example)), shape=(rows * classes, self.examples)
            )

        run, example = (x.ravel() for x in np.indices(predicted.shape))
        right = predicted[run, example] == gold[example]
        self._predicted = indicator(run, example, predicted.ravel(), runs)
        self._right = indicator(run[right], example[right], gold[example[right]], runs)
        self._gold = indicator(0, np.arange(self.examples), gold, 1)

    def _counts(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Right, predicted and gold of each class: (runs, classes, R) twice, (classes, R)."""
        shape = (*self._shape, counts.shape[1])
        return (self._right @ counts).reshape(shape), (self._predicted @ counts).reshape(shape), self._gold @ counts


class ClassF1(_Confusion):
    """F1 as in `glue.classification`: that of class 1 where there are two, else the mean over classes."""

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """(n, R) → (runs, R)."""
        right, predicted, gold = self._counts(counts)
        f1 = _ratio(200 * right, predicted + gold)
        return f1[:, 1] if self._shape[1] == 2 else f1.mean(1)


class MacroF1(_Confusion):
    """The mean over classes of F1, 0 for a class that is neither gold nor predicted, as in `glue.classification`."""

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """(n, R) → (runs, R)."""
        right, predicted, gold = self._counts(counts)
        return _ratio(200 * right, predicted + gold).mean(1)


class Mcc(_Confusion):
    """Matthews correlation of any number of classes (Gorodkin 2004), -100 to 100, 0 where it does not exist."""

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """(n, R) → (runs, R)."""
        right, predicted, gold = self._counts(counts)
        n = counts.sum(0)
        covariance = n * right.sum(1) - (predicted * gold).sum(1)
        spread = (n**2 - (predicted**2).sum(1)) * (n**2 - (gold**2).sum(0))
        return _ratio(100 * covariance, np.sqrt(spread))


class _Sets(_Confusion):
    """`_Confusion` where each example has any number of classes.

    Args:
        gold: bool, (n, C). predicted: as many for each run.
    """

    def __init__(self, gold: np.ndarray, predicted: Sequence[np.ndarray]):
        from scipy.sparse import csr_array, vstack

        self._shape, self.examples = (len(predicted), gold.shape[1]), len(gold)
        self._predicted, self._right = (
            vstack([csr_array(part.T.astype(np.float64)) for part in parts])
            for parts in (predicted, [part & gold for part in predicted])
        )
        self._gold = csr_array(gold.T.astype(np.float64))


class MicroSetF1(_Sets):
    """F1 of all classes of all examples together, as in `label_set_scores`."""

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """(n, R) → (runs, R)."""
        right, predicted, gold = (part.sum(-2) for part in self._counts(counts))
        return _ratio(200 * right, predicted + gold)


class MacroSetF1(_Sets):
    """The mean over classes of F1, 0 for a class that is neither gold nor predicted, as in `label_set_scores`."""

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """(n, R) → (runs, R)."""
        right, predicted, gold = self._counts(counts)
        return _ratio(200 * right, predicted + gold).mean(1)


#: Scores that follow from counts of classes, of which each example has one, or several.
_OF_CLASSES = {"f1": ClassF1, "mcc": Mcc, "macro_f1": MacroF1}
_OF_SETS = {"micro_f1": MicroSetF1, "macro_f1": MacroSetF1}
#: Scores of entities and words that follow from counts of each text: factor, columns above and below the line.
_OF_COUNTS = {
    "f1": (200.0, ("entities_right",), ("entities", "entities_said")),
    "precision": (100.0, ("entities_right",), ("entities_said",)),
    "recall": (100.0, ("entities_right",), ("entities",)),
    "accuracy": (100.0, ("words_right",), ("words",)),
}


def _ratio(above: np.ndarray, below: np.ndarray, exists: np.ndarray | None = None) -> np.ndarray:
    """above / below; 0 where the ratio does not exist."""
    exists = below > 0 if exists is None else exists
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=exists)
