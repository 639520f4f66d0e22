"""Extractive question answering: start and end of the answer among the tokens of a window."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distill.config.scoring import Evaluate
from distill.losses.terms import TEACHER_WEIGHT, cross_entropy, mse_tok, soft_rows, weighted_mean
from distill.tasks import calibration, spans, squad
from distill.tasks.base import (
    ClassRows,
    MetricInputs,
    Predicted,
    Report,
    choose_metric,
    drawn_rows,
    label_column,
    labelled,
)


class QuestionAnswering:
    """SQuAD v1.1 and v2.0. Logits are (B, L, 2): start and end; the classes of both are the L tokens.

    Args:
        metric: name of the main metric: f1 or em; None: f1.
        labels: empty; a window's classes are its tokens.

    Raises:
        UserError: another metric.
    """

    name = "qa"
    labels = ("start_positions", "end_positions")
    per_token = True
    channels = 2
    logits_of = "positions"
    has_classes = True
    extra_columns = ("offset_start", "gold")
    shown = ("em", "f1", "has_answer_f1", "no_answer_f1", "tuned_em", "tuned_f1")

    def __init__(self, metric: str | None = None, labels: Sequence[str] = ()):
        self.main_metric = choose_metric(self.name, metric, ("f1", "em"))

    def auto_class(self) -> Any:
        """`AutoModelForQuestionAnswering`."""
        from transformers import AutoModelForQuestionAnswering

        return AutoModelForQuestionAnswering

    def model_fields(self) -> dict[str, Any]:
        """Two outputs, start and end: a checkpoint may have the head of a task with more."""
        return {"num_labels": self.channels}

    def logits(self, outputs: Any) -> Tensor:
        """Start and end logits stacked, (B, L, 2)."""
        return torch.stack((outputs.start_logits, outputs.end_logits), -1)

    def loss(self, logits: Tensor, batch: dict[str, Tensor], smoothing: float = 0.0) -> Tensor:
        """(CE_start + CE_end) / 2, each the mean over rows whose position lies inside the window (-100: no label).

        Padded positions are no classes (transformers counts them in, which makes the loss depend on padding).
        """
        mask = batch["attention_mask"].bool()
        parts = [
            cross_entropy(logits[..., side], batch[column], mask, smoothing) for side, column in enumerate(self.labels)
        ]
        return sum(parts) / 2

    def soft(self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor], temperature: float) -> Tensor:
        """Mean of start and end of `losses.soft` over the sequence axis, padding at −∞ in both (`weighted_mean`)."""
        return weighted_mean(self.soft_rows(student, teacher, batch, temperature), batch)

    def soft_rows(self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor], temperature: float) -> Tensor:
        """`soft` of each window, (B,)."""
        mask = batch["attention_mask"].bool()
        parts = [soft_rows(student[..., side], teacher[..., side], temperature, mask) for side in (0, 1)]
        return sum(parts) / 2

    def logit_mse(self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Σ (student − teacher)² over real tokens and both sides, divided by 2 · number of real tokens.

        Where the batch has weights of its rows' soft targets, each real token counts with that of its row, above and
        below the line; 0 where all weights are 0.
        """
        mask = batch["attention_mask"].bool()
        if TEACHER_WEIGHT not in batch:
            return mse_tok(student, teacher, mask)
        squared = (student.float() - teacher.detach().float()).square().mean(-1)
        weight = (batch[TEACHER_WEIGHT][:, None] * mask).flatten()
        return weighted_mean(squared.flatten(), {TEACHER_WEIGHT: weight})

    def class_rows(self, logits: Tensor, batch: dict[str, Tensor]) -> list[ClassRows]:
        """Start and end, whose classes are the real tokens."""
        mask = batch["attention_mask"].bool()
        return [
            ClassRows(side, batch[column], mask) for side, column in zip(logits.unbind(-1), self.labels, strict=True)
        ]

    def probabilities(self, logits: Tensor, batch: dict[str, Tensor]) -> list[dict[str, float]]:
        """Of spans, p(start) · p(end), each a softmax over the real tokens.

        `labelled span`: that of the window's label, which is the cls token where the window has no answer; left out for
        a batch in which a row has none. `likeliest span`: the greatest of any span, no answer among them.
        """
        padding = ~batch["attention_mask"].bool().unsqueeze(-1)
        start, end = logits.double().masked_fill(padding, -torch.inf).softmax(1).unbind(-1)
        likeliest = (start.unsqueeze(2) * end.unsqueeze(1)).triu().amax((1, 2))
        found = {"likeliest span": likeliest.tolist()}
        if "start_positions" in batch and labelled(batch, self.labels).all():
            places = [batch[column].unsqueeze(1) for column in self.labels]
            gold = start.gather(1, places[0]) * end.gather(1, places[1])
            found = {"labelled span": gold.squeeze(1).tolist(), **found}
        return [
            {name: round(value, 6) for name, value in zip(found, row, strict=True)}
            for row in zip(*found.values(), strict=True)
        ]

    def head(self, width: int, dropout: float) -> nn.Module:
        """Linear(width, 2) per token, without dropout, as TED has it."""
        return nn.Linear(width, 2)

    def editable(self, batch: dict[str, Tensor]) -> Tensor:
        """Tokens of the context that touch no gold answer: bool, (B, L). The question is never changed.

        The labels do not say where gold answers are: a window that cuts through the answer is labelled as one
        without, and a question may have several answers.
        """
        return (batch["offset_start"] >= 0) & (batch["gold"] == 0)

    def noisy(self, features: Any, share: float, seed: int) -> dict[str, np.ndarray]:
        """Drawn rows get a random answer: a start anywhere in the window's context, as many tokens as before.

        The answer ends with the context at the latest. A window without an answer gets one of one token. A window
        without a context keeps its label.
        """
        start, end = (label_column(features, column) for column in self.labels)
        rows, generator = drawn_rows(len(start), share, seed)
        offsets = features.data.column("offset_start")
        for row in rows:
            context = np.flatnonzero(np.asarray(offsets[int(row)].as_py()) >= 0)
            if len(context):
                tokens = end[row] - start[row]
                start[row] = generator.integers(context[0], context[-1] + 1)
                end[row] = min(start[row] + tokens, context[-1])
        return dict(zip(self.labels, (start, end), strict=True))

    def score(self, predicted: Predicted, settings: Evaluate) -> dict[str, float]:
        """EM and F1 at threshold 0, for all questions and, in v2.0, for those with and without an answer (0–100)."""
        version_2 = predicted.meta["version_2"]
        answers, ids, gold = self._search(predicted, settings)
        texts = spans.predictions(answers, ids, self._zero(version_2))
        # Not `squad_metric`, the same figures behind evaluate's interface: its import takes longer than the scoring.
        figures = squad.scores(texts, _texts(ids, gold), None, version_2, threshold=None)
        return self._named(figures, version_2)

    def report(
        self,
        selection: Predicted,
        validation: Predicted,
        settings: Evaluate,
        further: Mapping[str, Predicted] | None = None,
    ) -> Report:
        """Scores of the validation split at threshold 0 and, in v2.0, at the threshold tuned on the selection split.

        `best_em_oracle` and `best_f1_oracle` are the official evaluator's best_exact and best_f1: their thresholds are
        tuned on the reported split itself. Further splits are scored at threshold 0. The
        confidence of an answer is its share among the n-best spans and, in v2.0, no answer; its temperature is fitted
        on the selection split.
        """
        from distill.tasks.squad_metric import Squad  # seconds that no other stage waits for

        version_2 = validation.meta["version_2"]
        metric = Squad("v2" if version_2 else "v1.1")
        options = {"no_answer_threshold": math.inf} if version_2 else {}

        def official(inputs: MetricInputs) -> dict[str, float]:
            return metric.compute(predictions=inputs.predictions, references=inputs.references, **options)

        answers, ids, gold = self._search(validation, settings)
        gold_texts = _texts(ids, gold)
        selection_answers, selection_ids, selection_gold = self._search(selection, settings)
        selection_gold_texts = _texts(selection_ids, selection_gold)
        inputs = {"": self._inputs(answers, ids, gold, version_2, 0.0)}
        figures = official(inputs[""])
        scores = self._named(figures, version_2)
        scores["questions"] = len(ids)
        selection_inputs = self._inputs(selection_answers, selection_ids, selection_gold, version_2, 0.0)
        selection_scores = self._named(official(selection_inputs), version_2)
        scores |= {f"selection_{name}": value for name, value in selection_scores.items()}
        for split, predicted in (further or {}).items():
            inputs[f"{split}_"] = self._inputs(*self._search(predicted, settings), version_2, 0.0)
            split_scores = self._named(official(inputs[f"{split}_"]), version_2)
            split_scores["questions"] = len(predicted.examples)
            scores |= {f"{split}_{name}": value for name, value in split_scores.items()}
        texts = spans.predictions(answers, ids, self._zero(version_2))
        odds = dict(zip(ids, answers.null_odds.tolist(), strict=True))
        files = {".json": texts, ".null_odds.json": odds}
        em, f1 = self._each(texts, gold_texts, version_2)
        table = {"id": ids, "em": em, "f1": f1}
        predicted = spans.predictions(selection_answers, selection_ids, self._zero(version_2))
        correct, _ = self._each(predicted, selection_gold_texts, version_2)
        candidates = spans.candidate_scores(selection_answers, version_2)
        temperature = calibration.temperature_of_answers(candidates, correct)
        confidence, calibrated = calibration.columns(spans.candidate_scores(answers, version_2), em > 0, temperature)
        scores |= calibrated
        if version_2:
            threshold, _ = spans.tune_threshold(selection_answers, selection_ids, selection_gold_texts)
            tuned = self._named(official(self._inputs(answers, ids, gold, version_2, threshold)), version_2)
            tuned_em, tuned_f1 = self._each(spans.predictions(answers, ids, threshold), gold_texts, version_2)
            table |= {"tuned_em": tuned_em, "tuned_f1": tuned_f1}
            scores |= {"threshold": threshold} | {f"tuned_{name}": value for name, value in tuned.items()}
            scores |= {"best_em_oracle": figures["best_exact"], "best_f1_oracle": figures["best_f1"]}
        return Report(scores, files, table | confidence, {prefix: _probable(part) for prefix, part in inputs.items()})

    def _search(self, predicted: Predicted, settings: Evaluate) -> tuple[spans.Answers, list[str], list[dict]]:
        windows = spans.Windows.from_table(predicted.features.data.table)
        # Whole columns at once: row by row the data set takes longer than the search.
        table = predicted.examples.select_columns(["id", "context", "answers"]).with_format("arrow")[:]
        ids, contexts = (table.column(name).to_pylist() for name in ("id", "context"))
        answers = spans.search(
            windows,
            contexts,
            predicted.logits,
            predicted.offsets,
            settings.n_best,
            settings.max_answer_length,
        )
        return answers, ids, table.column("answers").to_pylist()

    @staticmethod
    def _zero(version_2: bool) -> float | None:
        """The threshold of prediction files: v1.1 has no null answers."""
        return 0.0 if version_2 else None

    @staticmethod
    def _each(texts: dict[str, str], gold_texts: dict[str, list[str]], version_2: bool) -> np.ndarray:
        """EM and F1 of each question, 0–100: (2, questions)."""
        pairs = [squad.question_scores(gold_texts[key], text, version_2) for key, text in texts.items()]
        return 100.0 * np.array(pairs, np.float64).T

    def _inputs(
        self, answers: spans.Answers, ids: list[str], gold: list[dict], version_2: bool, threshold: float
    ) -> MetricInputs:
        """In the format of the Hub's `squad` and `squad_v2`; no_answer_probability holds the null odds."""
        texts = spans.predictions(answers, ids, threshold if version_2 else None)
        predictions = [{"id": key, "prediction_text": texts[key]} for key in ids]
        if version_2:
            for row, odds in zip(predictions, answers.null_odds.tolist(), strict=True):
                row["no_answer_probability"] = odds
        references = [{"id": key, "answers": entry} for key, entry in zip(ids, gold, strict=True)]
        return MetricInputs(predictions, references)

    @staticmethod
    def _named(figures: dict[str, float], version_2: bool) -> dict[str, float]:
        """The official evaluator's figures under this project's names."""
        if not version_2:
            return {"em": figures["exact_match"], "f1": figures["f1"], "has_answer_f1": figures["f1"]}
        named = {"em": "exact", "f1": "f1", "has_answer_em": "HasAns_exact", "has_answer_f1": "HasAns_f1"}
        named |= {"no_answer_em": "NoAns_exact", "no_answer_f1": "NoAns_f1"}
        return {name: figures[official] for name, official in named.items() if official in figures}


def _texts(ids: list[str], gold: list[dict]) -> dict[str, list[str]]:
    return {key: entry["text"] for key, entry in zip(ids, gold, strict=True)}


def _probable(inputs: MetricInputs) -> MetricInputs:
    """With probabilities between no answer and the best span in place of the null odds, as the format's name has it."""
    from scipy.special import expit

    rows = [dict(row) for row in inputs.predictions]
    for row in rows:
        if (odds := row.get("no_answer_probability")) is not None:
            row["no_answer_probability"] = float(expit(odds))
    return MetricInputs(rows, inputs.references)


TASK = QuestionAnswering
