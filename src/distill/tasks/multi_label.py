"""Several classes per text, or none: of one text or of a pair of texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.config.scoring import Evaluate
from distill.losses.terms import TEACHER_WEIGHT, soft_rows, weighted_mean
from distill.tasks import calibration, decision, label_set_scores, thresholds
from distill.tasks.base import (
    ClassRows,
    MetricInputs,
    Predicted,
    Report,
    check_finite,
    choose_metric,
    drawn_rows,
    label_column,
)
from distill.tasks.heads import FirstTokenHead
from distill.tasks.named_classes import NamedClasses

#: Most probabilities of a row in the predictions file, the likeliest: it grows with the rows, not with the classes.
MOST_PROBABILITIES = 100


class MultiLabel(NamedClasses):
    """Single texts and pairs, two classes or more, each of which is true of a row or not, whatever the others are.

    Logits are (B, C), the log-odds of each class. Labels are float32, (B, C), 1 or 0; NaN in rows without a label.

    Args:
        metric: name of the main metric: micro_f1, macro_f1, example_f1 or subset_accuracy; None: micro_f1.
        labels: names of the classes; class i is `labels[i]`. Without any, only the names of scores can be read.

    Raises:
        UserError: another metric.
        ValueError: one class.
    """

    name = "multi_label"
    labels = ("labels",)
    per_token = False
    logits_of = "labels"
    has_classes = True
    extra_columns = ()
    shown = ("micro_f1", "macro_f1", "macro_ap", "example_f1", "subset_accuracy", "tuned_micro_f1", "tuned_macro_f1")
    shown += ("mismatched_micro_f1",)

    def __init__(self, metric: str | None = None, labels: Sequence[str] = ()):
        allowed = ("micro_f1", "macro_f1", "example_f1", "subset_accuracy")
        self.main_metric = choose_metric(self.name, metric, allowed)
        super().__init__(labels)

    def auto_class(self) -> Any:
        """`AutoModelForSequenceClassification`."""
        from transformers import AutoModelForSequenceClassification

        return AutoModelForSequenceClassification

    def model_fields(self) -> dict[str, Any]:
        """Number and names of the classes, and the kind of problem."""
        return super().model_fields() | {"problem_type": "multi_label_classification"}

    def logits(self, outputs: Any) -> Tensor:
        """(B, C)."""
        return outputs.logits

    def loss(self, logits: Tensor, batch: dict[str, Tensor], smoothing: float = 0.0) -> Tensor:
        """Binary cross-entropy of each class, mean over classes and over the rows with a label; 0 where none has one.

        The target is (1 − ε)·label + ε/2. Of a `weighted` task the part of a class that is true has its weight, as
        `pos_weight` of `torch.nn.BCEWithLogitsLoss`; the mean is then no weighted one.
        """
        labels = batch["labels"]
        known = ~labels.isnan()
        # Replaced before the loss: the gradient of what is masked afterwards would be 0 · NaN.
        target = labels.where(known, 0.0) * (1 - smoothing) + smoothing / 2
        weights = None if self._weights is None else torch.tensor(self._weights, device=logits.device)
        losses = F.binary_cross_entropy_with_logits(logits.float(), target, pos_weight=weights, reduction="none")
        return losses.where(known, 0.0).sum() / known.sum().clamp(min=1)

    def soft(self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor], temperature: float) -> Tensor:
        """`soft_rows`, mean over rows (`weighted_mean`)."""
        return weighted_mean(self.soft_rows(student, teacher, batch, temperature), batch)

    def soft_rows(self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor], temperature: float) -> Tensor:
        """T² · KL(p_t ‖ p_s) of each class's two outcomes, p = sigmoid(z/T), mean over classes, (B,).

        The mean, as in `loss`, and as over `class_rows`; classification's sum over classes is one over the outcomes of
        a single choice, which this has too.
        """
        return soft_rows(_outcomes(student), _outcomes(teacher), temperature).mean(-1)

    def logit_mse(self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Mean of (student − teacher)² over (B, C), rows weighted as in `weighted_mean`."""
        squared = (student.float() - teacher.detach().float()).square()
        return weighted_mean(squared.mean(-1), batch) if TEACHER_WEIGHT in batch else squared.mean()

    def class_rows(self, logits: Tensor, batch: dict[str, Tensor]) -> list[ClassRows]:
        """C choices between two classes, false and true, with the logits (0, z): a softmax of them is the sigmoid of z.

        One for each class, (B, 2), and not all in one: what runs over the rows of a batch compares the same class.
        """
        gold = batch["labels"].nan_to_num(-100.0).long()
        outcomes = _outcomes(logits)
        return [ClassRows(outcomes[:, number], gold[:, number]) for number in range(logits.shape[1])]

    def probabilities(self, logits: Tensor, batch: dict[str, Tensor]) -> list[dict[str, float]]:
        """By class, in the classes' order, each for itself; of more than `MOST_PROBABILITIES` classes the likeliest."""
        return self._probabilities(logits.double().cpu().numpy())

    def head(self, width: int, dropout: float) -> nn.Module:
        """First token → dropout → Linear(width, width) → tanh → dropout → Linear(width, C) (TED's filter head)."""
        return FirstTokenHead(width, self.channels, dropout)

    def editable(self, batch: dict[str, Tensor]) -> Tensor:
        """Every real token: bool, (B, L)."""
        return batch["attention_mask"].bool()

    def noisy(self, features: Any, share: float, seed: int) -> dict[str, np.ndarray]:
        """Drawn rows get all labels of a row drawn from those that have others, so that sets stay possible ones.

        A row whose labels all rows have keeps them.
        """
        values = label_column(features, "labels")
        rows, generator = drawn_rows(len(values), share, seed)
        _, kind, sizes = np.unique(values, axis=0, return_inverse=True, return_counts=True)
        kind = kind.ravel()
        order, ends = np.argsort(kind, kind="stable"), np.cumsum(sizes)
        others = len(values) - sizes[kind[rows]]
        rows, others = rows[others > 0], others[others > 0]
        # Rows in the order of their labels, in a circle that begins behind those with the row's own.
        places = (ends[kind[rows]] + generator.integers(0, others)) % len(values)
        noised = values.copy()
        noised[rows] = values[order[places]]
        return {"labels": noised}

    def score(self, predicted: Predicted, settings: Evaluate) -> dict[str, float]:
        """F1, subset accuracy and Hamming loss at threshold 0.5, and average precision (`label_set_scores`)."""
        logits, gold = _logits(predicted), self._gold(predicted)
        found = label_set_scores.of_sets(thresholds.decide(logits), gold)
        return found | label_set_scores.average_precision(logits, gold)

    def report(
        self,
        selection: Predicted,
        validation: Predicted,
        settings: Evaluate,
        further: Mapping[str, Predicted] | None = None,
    ) -> Report:
        """The scores of all splits, and classes and probabilities of every row of the validation split.

        Thresholds (`tasks.thresholds`) are tuned on the selection split: `tuned_…` scores, column `tuned`. So is the
        temperature, on all decisions together; confidence is that in all classes of a row at once, as if they were
        independent of each other, and correct are rows whose every class is right. `minority_recall` is the recall of
        the class with the fewest training rows, of those that the split has. `ap_0`, `ap_1` … are the average precision
        of each class, where there are up to `thresholds.MOST`. Of more than `MOST_PROBABILITIES` classes a row has the
        probabilities of the likeliest. Only question answering has null odds: that file is empty here.
        """
        from distill.tasks.multi_label_metric import MultiLabelScores  # seconds that no other stage waits for

        metric = MultiLabelScores()
        splits = {"": validation} | {f"{name}_": split for name, split in (further or {}).items()}
        ranked = {"selection": _logits(selection)} | {name: _logits(split) for name, split in splits.items()}

        def inputs(name: str, split: Predicted, bounds: np.ndarray | None = None) -> MetricInputs:
            said = thresholds.decide(ranked[name], bounds)
            return MetricInputs(said.astype(np.int64).tolist(), self._gold(split).astype(np.int64).tolist())

        def score(name: str, split: Predicted) -> dict[str, float]:
            given = inputs(name, split)
            return metric.compute(predictions=given.predictions, references=given.references, scores=ranked[name])

        scores: dict[str, float] = {}
        for name, split in splits.items():
            found = score(name, split) | {"examples": len(split.logits)}
            scores |= {f"{name}{key}": value for key, value in found.items()}
        scores |= {f"selection_{key}": value for key, value in score("selection", selection).items()}

        gold, logits = self._gold(validation), ranked[""]
        bounds = thresholds.tune(ranked["selection"], self._gold(selection))
        said, tuned = thresholds.decide(logits), thresholds.decide(logits, bounds)
        given = inputs("", validation, bounds)
        again = metric.compute(predictions=given.predictions, references=given.references)
        rare = _rarest(decision.class_rows(validation.meta), gold)
        scores |= {"minority_recall": _recall(said, gold, rare)} | thresholds.named(bounds)
        scores |= {f"tuned_{key}": value for key, value in again.items()}
        scores |= {"tuned_minority_recall": _recall(tuned, gold, rare)}
        if self.channels <= thresholds.MOST:
            precisions = label_set_scores.average_precisions(logits, gold)
            scores |= {f"ap_{number}": value for number, value in enumerate(precisions) if value is not None}

        temperature = calibration.temperature_of_labels(ranked["selection"], self._gold(selection))
        right = (said == gold).all(1)
        confidence, calibrated = calibration.columns_of_labels(logits, right, temperature)
        scores |= calibrated
        ids = list(validation.examples["id"])
        table = {
            "id": ids,
            "example_f1": label_set_scores.of_rows(said, gold),
            "subset_accuracy": 100.0 * right,
            "gold": self._names(gold),
            "predicted": self._names(said),
            **confidence,
            "tuned": self._names(tuned),
        }
        predictions = {
            key: {"labels": [self.classes[i] for i in np.flatnonzero(row)], "probabilities": shares}
            for key, row, shares in zip(ids, said, self._probabilities(logits), strict=True)
        }
        files = {".json": predictions, ".null_odds.json": {}}
        return Report(scores, files, table, {name: inputs(name, split) for name, split in splits.items()})

    def _gold(self, predicted: Predicted) -> np.ndarray:
        """Bool, (rows, C)."""
        sets = predicted.examples.data.column("label").to_pylist()
        gold = np.zeros((len(sets), self.channels), bool)
        for row, numbers in zip(gold, sets, strict=True):
            row[numbers] = True
        return gold

    def _names(self, sets: np.ndarray) -> list[str]:
        """The names of the classes of each row of a bool array (rows, C), as a JSON list."""
        return [json.dumps([self.classes[i] for i in np.flatnonzero(row)], ensure_ascii=False) for row in sets]

    def _probabilities(self, logits: np.ndarray) -> list[dict[str, float]]:
        """`probabilities` of float64 logits, (rows, C)."""
        shares = (0.5 + 0.5 * np.tanh(logits / 2)).round(6)  # the sigmoid, without overflow
        if self.channels <= MOST_PROBABILITIES:
            return [dict(zip(self.classes, row.tolist(), strict=True)) for row in shares]
        likeliest = np.sort(np.argsort(-logits, axis=1, kind="stable")[:, :MOST_PROBABILITIES], axis=1)
        return [{self.classes[i]: float(row[i]) for i in best} for row, best in zip(shares, likeliest, strict=True)]


def _outcomes(logits: Tensor) -> Tensor:
    """Logits (B, C) as those of two outcomes of each class, false and true: (B, C, 2)."""
    return torch.stack((torch.zeros_like(logits), logits), -1)


def _logits(predicted: Predicted) -> np.ndarray:
    check_finite(predicted.logits)
    return predicted.logits.astype(np.float64)


def _rarest(rows: Sequence[int], gold: np.ndarray) -> int:
    """`decision.rarest` of a split whose rows may have several classes; class 0 where no row has any."""
    present = np.flatnonzero(gold.any(0))
    return decision.rarest(rows, present) if len(present) else 0


def _recall(said: np.ndarray, gold: np.ndarray, number: int) -> float:
    """Share of the rows of a class in which it is said, 0–100; 0 where no row has it."""
    return 100.0 * float(said[gold[:, number], number].sum()) / max(int(gold[:, number].sum()), 1)


TASK = MultiLabel
