"""Putting the passages of a query in order: a cross-encoder reads query and passage together and gives a score.

The scores of a query's passages are compared with one another and with nothing else: a softmax over the group is the
distribution that the task loss, soft targets and other losses over classes are about, and adding a constant to all
scores of a group changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distill.config.scoring import Evaluate
from distill.errors import UserError
from distill.losses.terms import soft_rows, weighted_mean
from distill.tasks import trec
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


class Ranking:
    """One output. Logits are (B, 1), `labels` the relevance, float32 (B,), NaN where there is none, `group` int64 (B,):
    equal for passages of the same query, which a batch has all of. Groups may have different numbers of passages.

    Args:
        metric: name of the main metric: ndcg_10, mrr_10, map or recall_1; None: ndcg_10.
        labels: empty.

    Raises:
        UserError: another metric.
    """

    name = "ranking"
    labels = ("labels", "group")
    per_token = False
    channels = 1
    logits_of = "relevance"
    has_classes = True
    extra_columns = ("passage",)
    shown = ("ndcg_10", "mrr_10", "map", "recall_1", "recall_5", "recall_10", "mismatched_ndcg_10")

    def __init__(self, metric: str | None = None, labels: Sequence[str] = ()):
        self.main_metric = choose_metric(self.name, metric, ("ndcg_10", "mrr_10", "map", "recall_1"))

    def auto_class(self) -> Any:
        """`AutoModelForSequenceClassification`, with one output."""
        from transformers import AutoModelForSequenceClassification

        return AutoModelForSequenceClassification

    def model_fields(self) -> dict[str, Any]:
        """One output, named "relevance"."""
        names = {"id2label": {0: "relevance"}, "label2id": {"relevance": 0}}
        return {"num_labels": 1, "problem_type": "regression"} | names

    def logits(self, outputs: Any) -> Tensor:
        """(B, 1)."""
        return outputs.logits

    def loss(self, logits: Tensor, batch: dict[str, Tensor], smoothing: float = 0.0) -> Tensor:
        """Listwise softmax cross-entropy (Cao et al. 2007, ListNet's top-one form), mean over the groups that have one.

        −Σ target · log softmax(scores) over the passages of a group, with target = relevance / its sum: for one
        relevant passage its negative log-likelihood among the group. Of it 1 − ε counts, and ε of an even target. A
        group without labels or without any relevant passage has no loss; 0 where no group has one.
        """
        rows = _rows(logits, batch)
        grades = rows.grades.nan_to_num(0.0).masked_fill(~rows.mask, 0.0)
        total = grades.sum(-1, keepdim=True)
        target = grades / torch.where(total > 0, total, 1.0)
        if smoothing:
            target = (1 - smoothing) * target + smoothing * rows.mask / rows.mask.sum(-1, keepdim=True)
        log_p = rows.logits.float().masked_fill(~rows.mask, -torch.inf).log_softmax(-1).masked_fill(~rows.mask, 0.0)
        known = total.squeeze(-1) > 0
        losses = -(target * log_p).sum(-1)
        return torch.where(known, losses, 0.0).sum() / known.sum().clamp(min=1)

    def soft(self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor], temperature: float) -> Tensor:
        """Listwise T² · KL(softmax(teacher/T) ‖ softmax(student/T)) over a group's passages, mean over groups.

        The mean is weighted (`weighted_mean`): a group weighs as much as its first row; its rows weigh the same.
        """
        own, other = (_rows(logits, batch) for logits in (student, teacher))
        return weighted_mean(soft_rows(own.logits, other.logits, temperature, own.mask), batch, own.row)

    def soft_rows(self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor], temperature: float) -> Tensor:
        """`soft` of each row's group, (B,): the mean of `soft` is over groups, of whatever size."""
        own, other = (_rows(logits, batch) for logits in (student, teacher))
        return soft_rows(own.logits, other.logits, temperature, own.mask)[_groups(batch["group"])[0]]

    def logit_mse(self, student: Tensor, teacher: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Mean over a group's passages of ((s − s̄) − (t − t̄))², mean over groups, weighted as in `soft`.

        s̄ and t̄ are the group's means: models that rank alike may score on levels of their own.
        """
        own, other = (_rows(logits, batch) for logits in (student, teacher.detach()))
        count = own.mask.sum(-1)
        gap = (own.logits.float() - other.logits.float()).masked_fill(~own.mask, 0.0)
        gap = (gap - (gap.sum(-1) / count).unsqueeze(-1)).masked_fill(~own.mask, 0.0)
        return weighted_mean(gap.square().sum(-1) / count, batch, own.row)

    def class_rows(self, logits: Tensor, batch: dict[str, Tensor]) -> list[ClassRows]:
        """A row for each group, whose classes are its passages in the batch's order.

        The gold class is the relevant passage, where a group has exactly one.
        """
        return [_rows(logits, batch)]

    def probabilities(self, logits: Tensor, batch: dict[str, Tensor]) -> list[dict[str, float]]:
        """No probability, but the `score` itself."""
        return [{"score": round(value, 6)} for value in logits[:, 0].double().tolist()]

    def head(self, width: int, dropout: float) -> nn.Module:
        """First token → dropout → Linear(width, width) → tanh → dropout → Linear(width, 1) (TED's filter head)."""
        return FirstTokenHead(width, 1, dropout)

    def editable(self, batch: dict[str, Tensor]) -> Tensor:
        """The passage's tokens: bool, (B, L). The query stays: a group is of one query."""
        return batch["passage"] == 1

    def noisy(self, features: Any, share: float, seed: int) -> dict[str, np.ndarray]:
        """In drawn groups the relevance of the passages is shuffled, so that as many are relevant as before."""
        values, group = label_column(features, "labels"), label_column(features, "group")
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        parts = np.split(np.arange(len(values)), starts[1:])
        drawn, generator = drawn_rows(len(starts), share, seed)
        for number in drawn:
            rows = parts[number]
            values[rows] = values[np.roll(rows, generator.integers(1, max(len(rows), 2)))]
        return {"labels": values}

    def score(self, predicted: Predicted, settings: Evaluate) -> dict[str, float]:
        """nDCG@10, MRR@10, MAP and recall, as trec_eval computes them (`tasks.trec`), means over queries."""
        inputs = _inputs(predicted)
        return trec.scores(inputs.predictions, inputs.references)

    def report(
        self,
        selection: Predicted,
        validation: Predicted,
        settings: Evaluate,
        further: Mapping[str, Predicted] | None = None,
    ) -> Report:
        """The scores of all splits, and the order of the passages of every query of the validation split.

        The table of examples has a row for each query: its scores, whether the first passage is a relevant one, and
        the ids of the relevant passages and of the first one. Nothing is tuned. Only question answering has null odds:
        that file is empty here.
        """
        from distill.tasks.trec_metric import RankingScores  # seconds that no other stage waits for

        metric = RankingScores()

        def score(inputs: MetricInputs) -> dict[str, float]:
            return metric.compute(predictions=inputs.predictions, references=inputs.references)

        inputs = {"": _inputs(validation)} | {f"{name}_": _inputs(split) for name, split in (further or {}).items()}
        scores = report_scores(score, _inputs(selection), inputs)
        run, gold = inputs[""].predictions, inputs[""].references
        each, orders = trec.by_query(run, gold), [trec.order(entry["passages"], entry["scores"]) for entry in run]
        first = [entry["passages"][order[0]] for entry, order in zip(run, orders, strict=True)]
        relevant = [
            [name for name, grade in zip(entry["passages"], entry["relevance"], strict=True) if grade] for entry in gold
        ]
        table = {
            "id": [entry["query"] for entry in run],
            **{name: 100.0 * values for name, values in each.items()},
            "gold": [" ".join(names) for names in relevant],
            "predicted": first,
            "correct": np.array([name in names for name, names in zip(first, relevant, strict=True)], np.int64),
        }
        rankings = {
            entry["query"]: [{"id": entry["passages"][i], "score": round(entry["scores"][i], 6)} for i in order]
            for entry, order in zip(run, orders, strict=True)
        }
        return Report(scores, {".json": rankings, ".null_odds.json": {}}, table, inputs)


def _groups(group: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(number of each row's group, from 0 in the order of the numbers; its place in it; rows of each group)."""
    _, number, count = torch.unique(group, return_inverse=True, return_counts=True)
    order = torch.argsort(number, stable=True)
    place = torch.empty_like(number)
    place[order] = torch.arange(len(number), device=number.device) - (count.cumsum(0) - count)[number[order]]
    return number, place, count


def _rows(logits: Tensor, batch: dict[str, Tensor]) -> ClassRows:
    """The groups of a batch as rows of `ClassRows`, with their grades."""
    if "group" not in batch:
        raise UserError("task ranking: a batch has no column `group`: it is of single pairs, which have no order")
    number, place, count = _groups(batch["group"])
    shape = len(count), int(count.max())

    def spread(values: Tensor, fill: float | bool) -> Tensor:
        return values.new_full(shape, fill).index_put((number, place), values)

    mask = spread(torch.ones_like(number, dtype=torch.bool), False)
    grades = spread(batch["labels"].float(), torch.nan)
    positive = grades > 0  # false for NaN
    single = positive.sum(-1) == 1
    gold = torch.where(single, positive.long().argmax(-1), -100)
    row = number.new_zeros(shape[0]).index_put((number[place == 0],), torch.nonzero(place == 0).squeeze(-1))
    return ClassRows(spread(logits[:, 0], 0.0), gold, mask, row, grades)


def _inputs(predicted: Predicted) -> MetricInputs:
    check_finite(predicted.logits)
    names = ("query", "id", "label")
    query, ids, labels = (predicted.examples.data.column(name).to_numpy() for name in names)
    starts = np.flatnonzero(query[1:] != query[:-1]) + 1
    columns = (ids, labels, predicted.logits[:, 0].astype(np.float64))
    groups = zip(*(np.split(values, starts) for values in (query, *columns)), strict=True)
    run, gold = [], []
    for queries, passages, grades, scores in groups:
        shared = {"query": str(queries[0]), "passages": [str(name) for name in passages]}
        run.append(shared | {"scores": scores.tolist()})
        gold.append(shared | {"relevance": grades.astype(np.int64).tolist()})
    return MetricInputs(run, gold)


TASK = Ranking
