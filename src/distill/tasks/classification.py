"""Classification of one text or of a pair of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distill.config.scoring import Evaluate
from distill.losses.terms import (
    TEACHER_WEIGHT,
    cross_entropy,
    soft_rows,
    weighted_cross_entropy,
    weighted_mean,
)
from distill.tasks import calibration, decision, glue
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
from distill.tasks.heads import FirstTokenHead, report_scores
from distill.tasks.named_classes import NamedClasses

#: Most probabilities of a row in the predictions file, the likeliest: it grows with the rows, not with the classes.
MOST_PROBABILITIES = 100


class Classification(NamedClasses):
    """Single sentences and pairs, two classes or more. Logits are (B, C), labels int64 (B,).

    Args:
        metric: name of the main metric: accuracy, f1, mcc or macro_f1; None: accuracy.
        labels: names of the classes; class i is `labels[i]`. Without any, only the names of
            scores can be read.

    Raises:
        UserError: another metric.
        ValueError: one class.
    """

    name = "classification"
    labels = ("labels",)
    per_token = False
    logits_of = "classes"
    has_classes = True
    extra_columns = ()

    def __init__(self, metric: str | None = None, labels: Sequence[str] = ()):
        self.main_metric = choose_metric(self.name, metric, ("accuracy", "f1", "mcc", "macro_f1"))
        super().__init__(labels)
        # With more than two classes f1 is the macro F1.
        macro = ("macro_f1",) if self.channels <= 2 or self.main_metric == "macro_f1" else ()
        self.shown = ("accuracy", "f1", "mcc", *macro, "minority_recall", "mismatched_accuracy")

    def auto_class(self) -> Any:
        """`AutoModelForSequenceClassification`."""
        from transformers import AutoModelForSequenceClassification

        return AutoModelForSequenceClassification

    def model_fields(self) -> dict[str, Any]:
        """Number and names of the classes, and the kind of problem."""
        return super().model_fields() | {"problem_type": "single_label_classification"}

    def logits(self, outputs: Any) -> Tensor:
        """(B, C)."""
        return outputs.logits

    def loss(self, logits: Tensor, batch: dict[str, Tensor], smoothing: float = 0.0) -> Tensor:
        """Cross-entropy, mean over the rows with a label (-100 is none), 0 where no row has one.

        The target is (1 − ε) on the gold class and ε spread over all C classes. Of a `weighted` task it is the weighted
        mean (`losses.weighted_cross_entropy`) over these rows.
        """
        if self._weights is None:
            return cross_entropy(logits, batch["labels"], None, smoothing)
        weights = torch.tensor(self._weights, device=logits.device)
        return weighted_cross_entropy(logits, batch["labels"], weights, smoothing)

    def soft(self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor], temperature: float) -> Tensor:
        """`losses.soft` over the classes, mean over rows (`weighted_mean`)."""
        return weighted_mean(self.soft_rows(student, teacher, batch, temperature), batch)

    def soft_rows(self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor], temperature: float) -> Tensor:
        """`soft` of each row, (B,)."""
        return soft_rows(student, teacher, temperature)

    def logit_mse(self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Mean of (student − teacher)² over (B, C), rows weighted as in `weighted_mean`."""
        squared = (student.float() - teacher.detach().float()).square()
        return weighted_mean(squared.mean(-1), batch) if TEACHER_WEIGHT in batch else squared.mean()

    def class_rows(self, logits: Tensor, batch: dict[str, Tensor]) -> list[ClassRows]:
        """The logits as they are."""
        return [ClassRows(logits, batch["labels"])]

    def probabilities(self, logits: Tensor, batch: dict[str, Tensor]) -> list[dict[str, float]]:
        """By class, in the classes' order; of more than `MOST_PROBABILITIES` classes the likeliest."""
        return self._probabilities(logits.double().cpu().numpy())

    def head(self, width: int, dropout: float) -> nn.Module:
        """First token → dropout → Linear(width, width) → tanh → dropout → Linear(width, C) (TED's filter head)."""
        return FirstTokenHead(width, self.channels, dropout)

    def editable(self, batch: dict[str, Tensor]) -> Tensor:
        """Every real token: bool, (B, L)."""
        return batch["attention_mask"].bool()

    def noisy(self, features: Any, share: float, seed: int) -> dict[str, np.ndarray]:
        """Drawn rows get one of the other classes, each equally likely."""
        values = label_column(features, "labels")
        rows, generator = drawn_rows(len(values), share, seed)
        values[rows] = (values[rows] + generator.integers(1, self.channels, len(rows))) % self.channels
        return {"labels": values}

    def score(self, predicted: Predicted, settings: Evaluate) -> dict[str, float]:
        """Accuracy, F1, Matthews correlation and macro F1 (`glue.classification`)."""
        inputs = _inputs(predicted)
        return glue.classification(inputs.predictions, inputs.references, self.channels)

    def report(
        self,
        selection: Predicted,
        validation: Predicted,
        settings: Evaluate,
        further: Mapping[str, Predicted] | None = None,
    ) -> Report:
        """The scores of all splits, and class and probabilities of every row of the validation split.

        Of more than `MOST_PROBABILITIES` classes a row has the probabilities of the likeliest, in the classes' order.
        `minority_recall` is the recall of the class with the fewest training rows, of those that the split has. The
        temperature of `calibration` is tuned on the selection split, and with up to `decision.MOST_CLASSES` classes the
        decision too: `tuned_…` scores, column `tuned`. Only question answering has null odds: that file is empty here.
        """
        from distill.tasks.glue_metric import ClassificationScores  # seconds that no other stage waits for

        metric = ClassificationScores()

        def score(inputs: MetricInputs) -> dict[str, float]:
            return metric.compute(predictions=inputs.predictions, references=inputs.references, classes=self.channels)

        inputs = {"": _inputs(validation)} | {f"{name}_": _inputs(split) for name, split in (further or {}).items()}
        scores = report_scores(score, _inputs(selection), inputs)
        logits, ids = validation.logits.astype(np.float64), list(validation.examples["id"])
        gold, predicted = _gold(validation), logits.argmax(1)
        temperature = calibration.temperature_of_classes(selection.logits.astype(np.float64), _gold(selection))
        confidence, calibrated = calibration.columns(logits, predicted == gold, temperature)
        names = np.array(self.classes, object)
        table = {"id": ids, "accuracy": 100.0 * (predicted == gold), "gold": names[gold], "predicted": names[predicted]}
        predictions = {
            key: {"label": self.classes[best], "probabilities": shares}
            for key, best, shares in zip(ids, predicted, self._probabilities(logits), strict=True)
        }
        rows = decision.class_rows(validation.meta)
        rare = decision.rarest(rows, gold)
        scores |= {"minority_recall": _recall(predicted, gold, rare)} | calibrated
        if self.channels <= decision.MOST_CLASSES:
            offsets = decision.tune(selection.logits.astype(np.float64), _gold(selection), rows)
            tuned = decision.decide(logits, offsets)
            scores |= self._tuned(offsets, rows, score(MetricInputs(tuned, gold)), _recall(tuned, gold, rare))
            confidence["tuned"] = names[tuned]
        return Report(scores, {".json": predictions, ".null_odds.json": {}}, table | confidence, inputs)

    def _tuned(
        self, offsets: np.ndarray, rows: Sequence[int], scores: Mapping[str, float], recall: float
    ) -> dict[str, float]:
        """The tuned decision by number, and its scores."""
        if self.channels == 2:
            said = {"tuned_threshold": decision.threshold(offsets, decision.rarest(rows, np.arange(2)))}
        else:
            said = {f"tuned_offset_{number}": float(offset) for number, offset in enumerate(offsets)}
        return said | {f"tuned_{name}": value for name, value in (dict(scores) | {"minority_recall": recall}).items()}

    def _probabilities(self, logits: np.ndarray) -> list[dict[str, float]]:
        """`probabilities` of float64 logits, (rows, C)."""
        odds = np.exp(logits - logits.max(1, keepdims=True))
        rows = zip(odds / odds.sum(1, keepdims=True), _likeliest(logits), strict=True)
        return [{self.classes[i]: round(float(shares[i]), 6) for i in likeliest} for shares, likeliest in rows]


def _likeliest(logits: np.ndarray) -> np.ndarray:
    """Numbers of the `MOST_PROBABILITIES` classes with the highest logits (rows, C), ascending: (rows, at most that).

    Of equal logits the first come first, as in argmax.
    """
    if logits.shape[1] <= MOST_PROBABILITIES:
        return np.broadcast_to(np.arange(logits.shape[1]), logits.shape)
    return np.sort(np.argsort(-logits, axis=1, kind="stable")[:, :MOST_PROBABILITIES], axis=1)


def _recall(predicted: np.ndarray, gold: np.ndarray, number: int) -> float:
    """Share of the rows of a class that are found, 0–100."""
    return 100.0 * float(np.mean(predicted[gold == number] == number))


def _gold(predicted: Predicted) -> np.ndarray:
    return np.asarray(predicted.examples.data.column("label"))


def _inputs(predicted: Predicted) -> MetricInputs:
    check_finite(predicted.logits)
    return MetricInputs(predicted.logits.argmax(1), _gold(predicted))


TASK = Classification
