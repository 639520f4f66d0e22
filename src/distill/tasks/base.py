"""The interface of a task: a model's head, its loss, which tokens of an input may be changed, and the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
from torch import Tensor, nn

from distill.errors import UserError


@dataclass
class MetricInputs:
    """What a metric is computed from: `predictions` and `references` of `evaluate.Metric.compute`, one per example."""

    predictions: Sequence
    references: Sequence


@dataclass
class Report:
    """The result of evaluating a model.

    Attributes:
        scores: scores by name, 0–100 unless the name says otherwise.
        files: JSON content by suffix of the predictions file. Every task gives ".json" and ".null_odds.json".
        examples: columns of the table with a row per validation example, in their order
            (`distill.analysis.example_table`).
        inputs: inputs of further metrics, by prefix of the scores' names ("" for the validation split, "mismatched_").
    """

    scores: dict[str, float]
    files: dict[str, dict]
    examples: dict[str, Sequence]
    inputs: dict[str, MetricInputs]


@dataclass(frozen=True)
class ClassRows:
    """Logits of choices among classes: R rows, each a choice.

    Attributes:
        logits: (R, classes).
        gold: (R,), int64; outside 0…classes − 1, or where no class exists, where there is no label.
        mask: (R, classes), true where a class exists; None: all do.
        row: (R,), int64: the row of the batch that each belongs to; None: R is B, one for each row of the batch.
        grades: (R, classes), float32: how good each class is, more is better, NaN where there is no label or no class;
            None: none is better than another but the gold one.
    """

    logits: Tensor
    gold: Tensor
    mask: Tensor | None = None
    row: Tensor | None = None
    grades: Tensor | None = None

    def of_rows(self, values: Tensor) -> Tensor:
        """A value for each row of the batch, (B,), as one for each row here, (R,)."""
        return values if self.row is None else values[self.row]


class Task(Protocol):
    """A task's model side. All tensors of a batch have B rows, padded to L tokens.

    A file of this folder names its class `TASK`. `TASK(metric, labels)` makes the task: `metric` is evaluate.metric of
    params.yaml (None: the task's own), `labels` are the names of the classes, in order (empty where there are none).

    "Logits" below are what `logits` gives: (B, L, C) per token, otherwise (B, C).
    """

    name: str
    #: Columns of the features that hold labels; scalars per row, or, in token classification, per token.
    labels: tuple[str, ...]
    #: True: one row of logits per token, (B, L, C); false: one per input, (B, C).
    per_token: bool
    #: C, the last axis of the logits.
    channels: int
    #: What the logits are scores of: `classes` (a softmax over the C channels), `positions` (for each channel a softmax
    #: over the tokens), `labels` (a sigmoid of each of the C channels), `number`, `relevance` (a number that is
    #: compared with those of its group alone).
    logits_of: Literal["classes", "positions", "labels", "number", "relevance"]
    #: False where the logits are no scores of classes (regression): KL and cross-entropy have no meaning there.
    has_classes: bool
    #: Ragged columns of the features (a value per token) that `editable` reads; batches hold them as (B, L), -1 padded.
    extra_columns: tuple[str, ...]
    #: The score by which checkpoints are chosen and methods are compared (higher is better).
    main_metric: str
    #: The scores that tables on the terminal show, where they exist.
    shown: tuple[str, ...]

    def auto_class(self) -> Any:
        """The transformers Auto class whose head fits."""

    def model_fields(self) -> dict[str, Any]:
        """Fields of a transformers configuration that the head needs."""

    def logits(self, outputs: Any) -> Tensor:
        """The model's outputs as one tensor."""

    def loss(self, logits: Tensor, batch: dict[str, Tensor], smoothing: float = 0.0) -> Tensor:
        """The task loss, a scalar: the mean over the rows of `labelled`; 0, with gradient 0, where there are none."""

    def soft(self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor], temperature: float) -> Tensor:
        """Distillation loss between logits, a scalar: the mean of `soft_rows`. No gradient flows into the teacher's.

        The mean is weighted where the batch has `losses.terms.TEACHER_WEIGHT`, as that of `logit_mse` is.
        """

    def soft_rows(self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor], temperature: float) -> Tensor:
        """The distillation loss of each row, (B,), float32."""

    def logit_mse(self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Mean squared error over the logits that exist, a scalar. No gradient flows into the teacher's."""

    def class_rows(self, logits: Tensor, batch: dict[str, Tensor]) -> list[ClassRows]:
        """The class distributions that the logits hold; several where a row has several choices, none without classes.

        Losses over classes are the mean over this list, and over the rows of each.
        """

    def probabilities(self, logits: Tensor, batch: dict[str, Tensor]) -> list[dict[str, float]]:
        """What a model makes of each row, by name, for people to read: rounded to six digits.

        Probabilities, from 0 to 1, where the task has classes; else the number itself.
        """

    def head(self, width: int, dropout: float) -> nn.Module:
        """A fresh head on hidden states (B, L, width) that gives logits like a model's.

        Args:
            dropout: dropout of the head's inputs, from 0 to below 1; ignored by a task whose heads have none.
        """

    def editable(self, batch: dict[str, Tensor]) -> Tensor:
        """True at the tokens that may be changed without changing what the gold label is about: bool, (B, L).

        Special tokens are left to the caller, which knows their ids.
        """

    def noisy(self, features: Any, share: float, seed: int) -> dict[str, np.ndarray]:
        """The label columns with `share` of the rows' labels replaced at random (teachers made defective on purpose).

        Args:
            features: the features of a split (`datasets.Dataset`).
            share: share of the rows, from 0 to 1; rounded to whole rows.
            seed: another seed replaces other rows.

        Returns:
            arrays (rows,) by label column, of the column's own type; of labels per token (tokens,), those of the rows
            one after another.
        """

    def score(self, predicted: Any, settings: Any) -> dict[str, float]:
        """Scores of a split (`evaluation.Predicted`), among them `main_metric`."""

    def report(
        self, selection: Any, validation: Any, settings: Any, further: Mapping[str, Any] | None = None
    ) -> Report:
        """All scores and prediction files; anything tuned is tuned on the selection split.

        Scores are computed through `evaluate.Metric`, by the formulas of `score`.

        Args:
            selection, validation: the splits (`evaluation.Predicted`).
            settings: the section `evaluate`.
            further: further splits (`evaluation.Predicted`) by name, such as "mismatched"; their scores are named
                `mismatched_…`.
        """


def gives_scores(task: Task) -> bool:
    """Whether a row's output is a plain number, not scores of classes: files and tables then hold that number."""
    return task.logits_of in ("number", "relevance")


def labelled(batch: dict[str, Tensor], columns: Sequence[str]) -> Tensor:
    """True at the rows that have a label, or one of whose tokens has: bool, (B,).

    A label that is not there is negative (a class, a position) or NaN (a number, each of several classes).

    Args:
        columns: the label columns (`Task.labels`).
    """
    label = batch[columns[0]]
    known = ~label.isnan() if label.is_floating_point() else label >= 0
    return known.flatten(1).any(1) if known.dim() > 1 else known


def choose_metric(task: str, metric: str | None, allowed: Sequence[str]) -> str:
    """The main metric: `metric`, or the first of `allowed` where it is None.

    Raises:
        UserError: the task has no such score.
    """
    if metric is None:
        return allowed[0]
    if metric not in allowed:
        raise UserError(
            f"params.yaml: evaluate.metric: {metric!r}: task {task} is judged by one of {', '.join(allowed)}: choose"
            " one, or null for the first"
        )
    return metric


def label_column(features: Any, name: str) -> np.ndarray:
    """A column of numbers as an array of its own type that may be written to, (rows,).

    Of lists of one length (a number for each class) it is (rows, C); of other lists, one after another, (all tokens,).
    """
    column = features.data.column(name)
    if pa.types.is_fixed_size_list(column.type):
        parts = [chunk.flatten().to_numpy().reshape(-1, column.type.list_size) for chunk in column.chunks]
        return np.concatenate([np.empty((0, column.type.list_size), np.float32), *parts])
    if hasattr(column.type, "value_type"):
        column = column.combine_chunks().flatten()
    return np.array(column.to_numpy())


def drawn_rows(rows: int, share: float, seed: int) -> tuple[np.ndarray, np.random.Generator]:
    """Which rows get another label, and the generator to draw the labels with.

    Returns:
        (round(share · rows) row numbers, ascending; generator)

    Raises:
        ValueError: the share is not from 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}: give a number from 0 to 1")
    generator = np.random.default_rng(seed)
    return np.sort(generator.choice(rows, round(share * rows), replace=False)), generator


def check_finite(logits: np.ndarray) -> None:
    """Raise a UserError that names the first row (rows, C) with a logit that is NaN or infinite."""
    broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(broken):
        raise UserError(
            f"logits: not a finite number in feature {broken[0]} ({logits[broken[0]]}); the model is broken, train it"
            " again with a lower learning rate or in float32"
        )


@dataclass
class Predicted:
    """Logits over a split.

    Attributes:
        examples, features: the split's tables (`datasets.Dataset`).
        logits: float32, (tokens, channels): the rows one after another; (rows, channels) where the task has one row
            of logits per feature.
        offsets: int64, (rows + 1,): where each feature's logits begin.
        meta: the prepared data's meta.json.
    """

    examples: Any
    features: Any
    logits: np.ndarray
    offsets: np.ndarray
    meta: dict
