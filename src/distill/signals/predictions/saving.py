"""A model's outputs as files of stored predictions: what `signals.stored` reads back (docs/teachers.md)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distill.config.scoring import Evaluate
from distill.data.sources.squad_json import show
from distill.errors import UserError
from distill.signals.log_probabilities import FLOOR
from distill.signals.predictions.rows import NAMES_OF_PAIRS
from distill.tasks import entities, spans
from distill.tasks.base import Predicted, Task, gives_scores

SUFFIXES = (".jsonl", ".parquet")
#: Digits that keep a float32 as it is.
_DIGITS = 9


def records(
    predicted: Predicted, split: str, task: Task, settings: Evaluate, known: np.ndarray | None = None
) -> Iterator[dict[str, Any]]:
    """A record for each example of a split: id, split, the text (of a question without its context), and the outputs.

    Classes have their probabilities (several labels each for itself), words one object of these each, regression has
    scores, and questions have their
    `settings.n_best` best answers, whose probabilities are a softmax over these and, where questions may have none, no
    answer. Answers of a lower probability than `FLOOR` are left out.

    Args:
        known: bool, (examples,): examples whose outputs there are; None: all.
    """
    questions = task.logits_of == "positions"
    names = {"question": "question"} if questions else {"text": "text", "text_pair": "text_pair"}
    if task.logits_of == "relevance":
        names = NAMES_OF_PAIRS
    outputs = _answers(predicted, settings) if questions else _rows(predicted, task)
    if task.per_token and not questions:
        outputs = _words(predicted, task)
    for number, (example, values) in enumerate(zip(_columns(predicted.examples, names), outputs, strict=True)):
        if known is None or known[number]:
            yield {"id": example["id"], "split": split} | example | values


def write(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write records as JSON lines or Parquet, by the suffix of the file; returns their number.

    Raises:
        UserError: another suffix.
    """
    check_suffix(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    if path.suffix == ".parquet":
        table = pa.Table.from_pylist(list(rows))
        pq.write_table(table, path)
        return len(table)
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def check_suffix(path: Path) -> None:
    """Raise a UserError where no file can be written under this name."""
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: has the suffix {show(path.suffix)}: name a file with {' or '.join(SUFFIXES)}")


def _columns(examples: Any, names: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Id and texts of each example, without a text that there is not.

    Args:
        names: column of the examples → its name in the record.
    """
    columns = [examples.data.column(name).to_pylist() for name in ("id", *names)]
    for values in zip(*columns, strict=True):
        yield {name: value for name, value in zip(("id", *names.values()), values, strict=True) if value is not None}


def _rows(predicted: Predicted, task: Task) -> Iterator[dict[str, Any]]:
    logits = predicted.logits.astype(np.float64)
    if gives_scores(task):
        yield from ({"score": _short(value)} for value in logits[:, 0])
        return
    if task.logits_of == "labels":
        rows = 0.5 + 0.5 * np.tanh(logits / 2)  # the sigmoid, without overflow
    else:
        odds = np.exp(logits - logits.max(1, keepdims=True))
        rows = odds / odds.sum(1, keepdims=True)
    for shares in rows:
        yield {"probabilities": {name: _short(share) for name, share in zip(task.classes, shares, strict=True)}}


def _words(predicted: Predicted, task: Task) -> Iterator[dict[str, Any]]:
    """A word without a token of its own, of which the model says nothing, is O."""
    logits = predicted.logits.astype(np.float64)
    odds = np.exp(logits - logits.max(1, keepdims=True))
    shares = odds / odds.sum(1, keepdims=True)
    sizes = [len(starts) for starts in predicted.examples.data.column("starts").to_pylist()]
    places = entities.of_words(predicted.features.data.table, np.arange(len(shares)), sizes, -1)
    silent = {name: float(name == "O") for name in task.classes}
    for listed in places:
        yield {
            "probabilities": [
                silent if place < 0 else {n: _short(p) for n, p in zip(task.classes, shares[place], strict=True)}
                for place in listed
            ]
        }


def _answers(predicted: Predicted, settings: Evaluate) -> Iterator[dict[str, Any]]:
    version_2 = predicted.meta["version_2"]
    contexts = predicted.examples.data.column("context").to_pylist()
    windows = spans.Windows.from_table(predicted.features.data.table)
    limits = settings.n_best, settings.max_answer_length
    found = spans.search(windows, contexts, predicted.logits, predicted.offsets, *limits)
    scores = spans.candidate_scores(found, version_2)
    for listed, row in zip(found.nbest, scores, strict=True):
        given = [{"text": ""}] if version_2 or not listed else []
        given += [{"text": span.text, "start": int(span.start)} for span in listed]
        values = row[: len(given)] if listed or version_2 else np.zeros(1)
        shares = np.exp(values - values.max())
        shares /= shares.sum()
        kept = shares >= FLOOR
        shares = shares[kept] / shares[kept].sum()
        answers = [item for item, keep in zip(given, kept, strict=True) if keep]
        yield {"answers": [a | {"probability": _short(p)} for a, p in zip(answers, shares, strict=True)]}


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
