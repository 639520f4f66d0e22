"""Token classification: a tag for each word of a text, such as the parts of named entities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distill.config.scoring import Evaluate
from distill.losses.terms import cross_entropy, soft_rows, weighted_cross_entropy, weighted_mean
from distill.tasks import calibration, entities
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
from distill.tasks.heads import report_scores
from distill.tasks.named_classes import NamedClasses

#: Labels below it stand at tokens that stand for no word; -1 at those of words that nobody has tagged.
_LEAST = -1


class TokenClassification(NamedClasses):
    """Tags of words. Logits are (B, L, C), labels int64 (B, L): see `data.features.word_features`.

    Only the tokens that stand for a word of their window count: a word is learnt once, however many windows it is in.

    Args:
        metric: name of the main metric: f1, precision, recall (of entities, strict) or accuracy (of words); None: f1.
        labels: names of the tags; class i is `labels[i]`. Without any, only the names of scores can be read.

    Raises:
        UserError: another metric.
        ValueError: one class.
    """

    name = "token_classification"
    labels = ("labels",)
    per_token = True
    logits_of = "classes"
    has_classes = True
    extra_columns = ("entity",)
    shown = ("f1", "precision", "recall", "default_f1", "accuracy", "mismatched_f1")

    def __init__(self, metric: str | None = None, labels: Sequence[str] = ()):
        self.main_metric = choose_metric(self.name, metric, ("f1", "precision", "recall", "accuracy"))
        super().__init__(labels)

    def auto_class(self) -> Any:
        """`AutoModelForTokenClassification`."""
        from transformers import AutoModelForTokenClassification

        return AutoModelForTokenClassification

    def logits(self, outputs: Any) -> Tensor:
        """(B, L, C)."""
        return outputs.logits

    def loss(self, logits: Tensor, batch: dict[str, Tensor], smoothing: float = 0.0) -> Tensor:
        """Cross-entropy, mean over the tagged words of the batch, 0 where no row has one.

        The target is (1 − ε) on the gold tag and ε spread over all C. Of a `weighted` task it is the weighted mean
        (`losses.weighted_cross_entropy`) over these words.
        """
        flat, target = logits.flatten(0, 1), batch["labels"].flatten()
        if self._weights is None:
            return cross_entropy(flat, target, None, smoothing)
        weights = torch.tensor(self._weights, device=logits.device)
        return weighted_cross_entropy(flat, target.masked_fill(target < 0, -100), weights, smoothing)

    def soft(self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor], temperature: float) -> Tensor:
        """`losses.soft` over the tags, mean over the words of the batch (`weighted_mean`), tagged or not."""
        losses, row = self._soft(student, teacher, batch, temperature)
        return weighted_mean(losses, batch, row)

    def soft_rows(self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor], temperature: float) -> Tensor:
        """The mean over the words of each row, (B,); 0 for a row without any."""
        losses, row = self._soft(student, teacher, batch, temperature)
        sums = torch.zeros(len(student), device=losses.device).index_add(0, row, losses)
        return sums / torch.bincount(row, minlength=len(student)).clamp(min=1)

    def _soft(
        self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor], temperature: float
    ) -> tuple[Tensor, Tensor]:
        """The loss of each word and its row in the batch, (R,) each."""
        own, other = (self._words(side, batch) for side in (student, teacher))
        return soft_rows(own.logits, other.logits, temperature), own.row

    def logit_mse(self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Mean of (student − teacher)² over the words of the batch and the tags, words weighted as their rows are."""
        own, other = (self._words(side, batch) for side in (student, teacher))
        squared = (own.logits.float() - other.logits.detach().float()).square().mean(-1)
        return weighted_mean(squared, batch, own.row)

    def class_rows(self, logits: Tensor, batch: dict[str, Tensor]) -> list[ClassRows]:
        """A row for each word of the batch, tagged or not."""
        return [self._words(logits, batch)]

    def _words(self, logits: Tensor, batch: dict[str, Tensor]) -> ClassRows:
        places = batch["labels"] >= _LEAST
        return ClassRows(logits[places], batch["labels"][places], None, places.nonzero()[:, 0])

    def probabilities(self, logits: Tensor, batch: dict[str, Tensor]) -> list[dict[str, float]]:
        """Of each row, geometric means over its words: `tagged` of the gold tags' probabilities, `likeliest` of the
        likeliest tags'.

        `tagged` is left out for a batch in which a word has no tag.
        """
        words = self._words(logits.double(), batch)
        log_p = words.logits.log_softmax(-1)
        found = {"likeliest": log_p.amax(-1)}
        if (words.gold >= 0).all():
            found = {"tagged": log_p.gather(-1, words.gold[:, None]).squeeze(-1), **found}
        count = torch.bincount(words.row, minlength=len(logits)).clamp(min=1)
        zeros = torch.zeros(len(logits), dtype=log_p.dtype, device=log_p.device)
        means = {name: (zeros.index_add(0, words.row, values) / count).exp() for name, values in found.items()}
        rows = zip(*(values.tolist() for values in means.values()), strict=True)
        return [{name: round(value, 6) for name, value in zip(means, row, strict=True)} for row in rows]

    def head(self, width: int, dropout: float) -> nn.Module:
        """Dropout and Linear(width, C) per token, as the models' own heads are."""
        return nn.Sequential(nn.Dropout(dropout), nn.Linear(width, self.channels))

    def editable(self, batch: dict[str, Tensor]) -> Tensor:
        """Tokens of words outside of entities: bool, (B, L); of a row that nobody has tagged, all."""
        return batch["entity"] == 0

    def noisy(self, features: Any, share: float, seed: int) -> dict[str, np.ndarray]:
        """The words of drawn rows get one of the other tags, each equally likely, whatever the scheme allows."""
        values = label_column(features, "labels")
        rows, generator = drawn_rows(len(features), share, seed)
        drawn = np.zeros(len(features), bool)
        drawn[rows] = True
        places = np.flatnonzero(np.repeat(drawn, features.data.column("length").to_numpy()) & (values >= 0))
        values[places] = (values[places] + generator.integers(1, self.channels, len(places))) % self.channels
        return {"labels": values}

    def score(self, predicted: Predicted, settings: Evaluate) -> dict[str, float]:
        """Precision, recall and F1 of entities, and accuracy of words (`entities.scores`)."""
        inputs = self._inputs(predicted)
        return entities.scores(inputs.references, inputs.predictions, predicted.meta["scheme"])

    def report(
        self,
        selection: Predicted,
        validation: Predicted,
        settings: Evaluate,
        further: Mapping[str, Predicted] | None = None,
    ) -> Report:
        """The scores of all splits, and tags and entities of every text of the validation split.

        `ece` and `temperature` are of the words' tags; the latter is tuned on the selection split. Only question
        answering has null odds: that file is empty here.
        """
        from distill.tasks.entity_metric import EntityScores  # seconds that no other stage waits for

        metric, scheme = EntityScores(), validation.meta["scheme"]

        def score(inputs: MetricInputs) -> dict[str, float]:
            return metric.compute(predictions=inputs.predictions, references=inputs.references, scheme=scheme)

        inputs = {"": self._inputs(validation)}
        inputs |= {f"{name}_": self._inputs(split) for name, split in (further or {}).items()}
        scores = report_scores(score, self._inputs(selection), inputs) | self._calibration(selection, validation)
        gold, said = inputs[""].references, inputs[""].predictions
        found = [entities.find(tags, scheme) for tags in (gold, said)]
        rows = validation.examples.select_columns(["id", "text", "starts", "ends"]).to_list()
        texts = [[_described(row, entity) for entity in part] for row, part in zip(rows, found[1], strict=True)]
        files = {
            row["id"]: {"tags": tags, "entities": listed} for row, tags, listed in zip(rows, said, texts, strict=True)
        }
        names = [[_listed(row, part) for row, part in zip(rows, side, strict=True)] for side in found]
        right = [sum(a == b for a, b in zip(*pair, strict=True)) for pair in zip(gold, said, strict=True)]
        table = {
            "id": [row["id"] for row in rows],
            "gold": names[0],
            "predicted": names[1],
            "entities": [len(part) for part in found[0]],
            "entities_said": [len(part) for part in found[1]],
            "entities_right": [len({*a} & {*b}) for a, b in zip(*found, strict=True)],
            "words": [len(tags) for tags in gold],
            "words_right": right,
            "correct": [int(a == b) for a, b in zip(*found, strict=True)],
        }
        return Report(scores, {".json": files, ".null_odds.json": {}}, table, inputs)

    def _calibration(self, selection: Predicted, validation: Predicted) -> dict[str, float]:
        """temperature, ece and ece_calibrated, over words."""
        logits, gold = self._flat(selection)
        temperature = calibration.temperature_of_classes(logits, gold)
        logits, gold = self._flat(validation)
        return calibration.columns(logits, logits.argmax(1) == gold, temperature)[1]

    def _flat(self, predicted: Predicted) -> tuple[np.ndarray, np.ndarray]:
        """Logits of all words that have a token, float64 (words, C), and their gold tags."""
        labels = label_column(predicted.features, "labels")
        return predicted.logits[labels >= 0].astype(np.float64), labels[labels >= 0]

    def _inputs(self, predicted: Predicted) -> MetricInputs:
        """The tags of each text, as names. A word without a token of its own is O."""
        check_finite(predicted.logits)
        columns = predicted.examples.select_columns(["starts", "tags"]).with_format("arrow")[:]
        sizes = [len(starts) for starts in columns.column("starts").to_pylist()]
        said = entities.of_words(
            predicted.features.data.table, predicted.logits.argmax(1), sizes, self.classes.index("O")
        )
        names = self.classes
        return MetricInputs(
            [[names[tag] for tag in tags] for tags in said],
            [[names[tag] for tag in tags] for tags in columns.column("tags").to_pylist()],
        )


def _described(row: Mapping[str, Any], entity: entities.Entity) -> dict[str, Any]:
    start, end = row["starts"][entity.start], row["ends"][entity.end - 1]
    return {"type": entity.kind, "start": start, "end": end, "text": row["text"][start:end]}


def _listed(row: Mapping[str, Any], found: Sequence[entities.Entity]) -> str:
    """Entities in one line, as in `PER: Ada Berg; LOC: Paris`."""
    described = (_described(row, entity) for entity in found)
    return "; ".join(f"{entity['type']}: {entity['text']}" for entity in described)


TASK = TokenClassification
