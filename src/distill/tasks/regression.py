"""A number for one text or for a pair of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from distill.config.scoring import Evaluate
from distill.errors import UserError
from distill.losses.terms import weighted_mean
from distill.tasks import glue
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


class Regression:
    """One output. Logits are (B, 1), labels float32 (B,). Both are compared as (B,): (B, 1) against (B,) would
    broadcast to all pairs of rows.

    Distillation is the squared error of both outputs: KL over one logit is always 0. The temperature has no effect.

    Args:
        metric: name of the main metric: pearson or spearman; None: pearson.
        labels: empty.

    Raises:
        UserError: another metric.
    """

    name = "regression"
    labels = ("labels",)
    per_token = False
    channels = 1
    logits_of = "number"
    has_classes = False
    extra_columns = ()
    shown = ("pearson", "spearman", "mse", "mismatched_pearson")

    def __init__(self, metric: str | None = None, labels: Sequence[str] = ()):
        self.main_metric = choose_metric(self.name, metric, ("pearson", "spearman"))

    def auto_class(self) -> Any:
        """`AutoModelForSequenceClassification`, with one output."""
        from transformers import AutoModelForSequenceClassification

        return AutoModelForSequenceClassification

    def model_fields(self) -> dict[str, Any]:
        """One output, named "score"."""
        return {"num_labels": 1, "id2label": {0: "score"}, "label2id": {"score": 0}, "problem_type": "regression"}

    def logits(self, outputs: Any) -> Tensor:
        """(B, 1)."""
        return outputs.logits

    def loss(self, logits: Tensor, batch: dict[str, Tensor], smoothing: float = 0.0) -> Tensor:
        """Mean of (logits − labels)² over the rows with a label (one that is NaN is none); 0 where no row has one.

        Raises:
            UserError: label smoothing, which spreads a label over classes.
        """
        if smoothing:
            raise UserError(
                f"params.yaml: label_smoothing: {smoothing}: task regression has no classes to smooth over: set it to 0"
            )
        if batch["labels"].dim() != 1:
            raise ValueError(f"labels have shape {tuple(batch['labels'].shape)}: (B,) is needed")
        labels = batch["labels"].float()
        known = ~labels.isnan()
        # Replaced before the difference: the gradient of what is masked afterwards would be 0 · NaN.
        squared = (logits[:, 0].float() - labels.where(known, 0.0)).square()
        return squared.where(known, 0.0).sum() / known.sum().clamp(min=1)

    def soft(self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor], temperature: float) -> Tensor:
        """Mean of (student − teacher)² over rows (`weighted_mean`)."""
        return weighted_mean(self.soft_rows(student, teacher, batch, temperature), batch)

    def soft_rows(self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor], temperature: float) -> Tensor:
        """(student − teacher)² of each row, (B,)."""
        return (student[:, 0].float() - teacher.detach()[:, 0].float()).square()

    def logit_mse(self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Mean of (student − teacher)² over rows (`weighted_mean`)."""
        return weighted_mean(self.soft_rows(student, teacher, batch, 1.0), batch)

    def class_rows(self, logits: Tensor, batch: dict[str, Tensor]) -> list[ClassRows]:
        """None: a number is no choice."""
        return []

    def probabilities(self, logits: Tensor, batch: dict[str, Tensor]) -> list[dict[str, float]]:
        """No probability, but the `score` itself."""
        return [{"score": round(value, 6)} for value in logits[:, 0].double().tolist()]

    def head(self, width: int, dropout: float) -> nn.Module:
        """First token → dropout → Linear(width, width) → tanh → dropout → Linear(width, 1) (TED's filter head)."""
        return FirstTokenHead(width, 1, dropout)

    def editable(self, batch: dict[str, Tensor]) -> Tensor:
        """Every real token: bool, (B, L)."""
        return batch["attention_mask"].bool()

    def noisy(self, features: Any, share: float, seed: int) -> dict[str, np.ndarray]:
        """Drawn rows get the label of a row drawn at random, so that the labels stay in their range."""
        values = label_column(features, "labels")
        rows, generator = drawn_rows(len(values), share, seed)
        values[rows] = values[generator.integers(0, len(values), len(rows))]
        return {"labels": values}

    def score(self, predicted: Predicted, settings: Evaluate) -> dict[str, float]:
        """Pearson and Spearman correlation (0 where a side is constant) and mse (`glue.regression`)."""
        inputs = _inputs(predicted)
        return glue.regression(inputs.predictions, inputs.references)

    def report(
        self,
        selection: Predicted,
        validation: Predicted,
        settings: Evaluate,
        further: Mapping[str, Predicted] | None = None,
    ) -> Report:
        """The scores of all splits, and the number predicted for every row of the validation split.

        Nothing is tuned. Only question answering has null odds: that file is empty here.
        """
        from distill.tasks.glue_metric import RegressionScores  # seconds that no other stage waits for

        metric = RegressionScores()

        def score(inputs: MetricInputs) -> dict[str, float]:
            return metric.compute(predictions=inputs.predictions, references=inputs.references)

        inputs = {"": _inputs(validation)} | {f"{name}_": _inputs(split) for name, split in (further or {}).items()}
        scores = report_scores(score, _inputs(selection), inputs)
        ids, numbers = list(validation.examples["id"]), validation.logits[:, 0].astype(np.float64)
        predictions = dict(zip(ids, numbers.round(6).tolist(), strict=True))
        table = {"id": ids, "gold": list(validation.examples["label"]), "predicted": numbers}
        return Report(scores, {".json": predictions, ".null_odds.json": {}}, table, inputs)


def _inputs(predicted: Predicted) -> MetricInputs:
    check_finite(predicted.logits)
    return MetricInputs(predicted.logits[:, 0], np.asarray(predicted.examples.data.column("label")))


TASK = Regression
