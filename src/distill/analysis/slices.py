"""Groups of validation examples, whose scores show where a model is good and where it is not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

QUESTION_WORDS = ("what", "who", "when", "where", "which", "how", "why")
_OTHER_FORMS = {"whom": "who", "whose": "who"}
_WORD = re.compile(rf"\b({'|'.join([*QUESTION_WORDS, *_OTHER_FORMS])})\b")
# Upper bounds, included, of the groups by words of the first gold answer.
_ANSWER_WORDS = (1, 2, 4, 8)
# Upper bounds, included, of the groups by number of relevant passages.
_RELEVANT = (0, 1, 2, 4)


@dataclass(frozen=True)
class Slice:
    """One way to group.

    Attributes:
        name: a short key.
        title: name for readers, with the unit of the groups.
        groups: each example's group, (n,), groups in the order to show; missing where an example is in none.
    """

    name: str
    title: str
    groups: pd.Categorical


def of(task: str, examples: Any, meta: dict[str, Any]) -> list[Slice]:
    """The groupings of a task; none for a task that this file does not know.

    Args:
        examples: the validation split (`datasets.Dataset`); of rankings by query (`queries.by_query`).
        meta: the prepared data's meta.json.
    """
    known: dict[str, Callable[[Any, dict[str, Any]], list[Slice]]] = {
        "qa": _of_questions,
        "classification": _of_classes,
        "regression": _of_numbers,
        "multi_label": _of_label_sets,
        "token_classification": _of_words,
        "ranking": _of_queries,
    }
    return known[task](examples, meta) if task in known else []


def _of_questions(examples: Any, meta: dict[str, Any]) -> list[Slice]:
    table = examples.select_columns(["question", "context", "answers"]).with_format("arrow")[:]
    questions, contexts = (table.column(name).to_pylist() for name in ("question", "context"))
    firsts = [next(iter(answer["text"]), None) for answer in table.column("answers").to_pylist()]
    answerable = ["NoAns" if text is None else "HasAns" for text in firsts]
    lengths = np.array([np.nan if text is None else len(text.split()) for text in firsts])
    words = pd.Categorical([question_word(text) for text in questions], [*QUESTION_WORDS, "other"])
    groupings = [
        Slice("question_word", "Question word", words),
        Slice("answer_length", "Length of the first gold answer (words)", up_to(lengths, _ANSWER_WORDS)),
        Slice("context_length", "Length of the context (words)", quarters(word_counts(contexts))),
    ]
    if meta["version_2"]:
        groups = pd.Categorical(answerable, ["HasAns", "NoAns"])
        groupings.insert(0, Slice("answerable", "Questions with and without an answer", groups))
    return groupings


def _of_classes(examples: Any, meta: dict[str, Any]) -> list[Slice]:
    gold = pd.Categorical.from_codes(np.asarray(examples.data.column("label")), list(meta["labels"]))
    return [Slice("class", "Gold class", gold), _text_length(examples)]


def _of_label_sets(examples: Any, meta: dict[str, Any]) -> list[Slice]:
    counts = np.array([len(numbers) for numbers in examples.data.column("label").to_pylist()], float)
    return [Slice("labels", "Number of gold labels", up_to(counts, (0, 1, 2, 3))), _text_length(examples)]


def _of_words(examples: Any, meta: dict[str, Any]) -> list[Slice]:
    outside = list(meta["labels"]).index("O")
    tags = examples.with_format("arrow")[:].column("tags").to_pylist()
    shares = np.array([np.mean(np.array(row) != outside) for row in tags])
    names = ["no word", "up to a quarter", "more"]
    codes = np.where(shares == 0, 0, np.where(shares <= 0.25, 1, 2))
    return [Slice("entities", "Words of entities among those of the text", pd.Categorical.from_codes(codes, names)),
            _text_length(examples)]  # fmt: skip


def _of_numbers(examples: Any, meta: dict[str, Any]) -> list[Slice]:
    gold = np.asarray(examples.data.column("label"), np.float64)
    edges = np.unique(np.quantile(gold, [0, 1 / 3, 2 / 3, 1]))
    return [Slice("gold", "Gold value (thirds, in the labels' unit)", between(gold, edges)), _text_length(examples)]


def _of_queries(examples: Any, meta: dict[str, Any]) -> list[Slice]:
    passages = np.array([len(grades) for grades in examples["relevance"]])
    relevant = np.array([sum(grade > 0 for grade in grades) for grades in examples["relevance"]])
    return [
        Slice("passages", "Passages of the query", quarters(passages)),
        Slice("relevant", "Relevant passages of the query", up_to(relevant, _RELEVANT)),
        Slice("query_length", "Length of the query (words)", quarters(word_counts(examples["text"]))),
    ]


def _text_length(examples: Any) -> Slice:
    table = examples.select_columns(["text", "text_pair"]).with_format("arrow")[:]
    counts, pair_counts = (word_counts(table.column(name).to_pylist()) for name in ("text", "text_pair"))
    return Slice("text_length", "Length of the text, or of both together (words)", quarters(counts + pair_counts))


def question_word(question: str) -> str:
    """The first question word in it, wherever it stands ("In what year …"); whom and whose are who; `other`: none."""
    match = _WORD.search(question.lower())
    return _OTHER_FORMS.get(match[1], match[1]) if match else "other"


def word_counts(texts: list[str | None]) -> np.ndarray:
    """Numbers of words between spaces, (n,); 0 for no text."""
    return np.array([len(text.split()) if text else 0 for text in texts])


def quarters(counts: np.ndarray) -> pd.Categorical:
    """Whole numbers (n,) in four groups of about equal size, fewer where many are the same: `12–80`."""
    return up_to(counts, np.quantile(counts, [0.25, 0.5, 0.75], method="lower"))


def up_to(counts: np.ndarray, edges: Any) -> pd.Categorical:
    """Whole numbers (n,) in groups that end with each of `edges`, and one above; named by their lowest and highest.

    Args:
        counts: nan where an example is in no group.
        edges: ascending.
    """
    place = np.searchsorted(np.asarray(edges), counts)
    place[np.isnan(counts)] = -1
    names, codes = [], np.full(len(counts), -1)
    for k in [k for k in np.unique(place) if k >= 0]:
        codes[place == k] = len(names)
        low, high = int(counts[place == k].min()), int(counts[place == k].max())
        names.append(str(low) if low == high else f"{low}–{high}")
    return pd.Categorical.from_codes(codes, names)


def between(values: np.ndarray, edges: np.ndarray) -> pd.Categorical:
    """Numbers (n,) by the interval that they lie in, `0–1.75`; a single group where all values are equal."""
    if len(edges) < 2:
        return pd.Categorical.from_codes(np.zeros(len(values), int), [f"{edges[0]:g}"])
    shown = [f"{edge:g}" for edge in edges]
    if len(set(shown)) < len(shown):  # large numbers close together
        shown = [repr(float(edge)) for edge in edges]
    names = [f"{low}–{high}" for low, high in zip(shown[:-1], shown[1:], strict=True)]
    return pd.Categorical.from_codes(np.digitize(values, edges[1:-1], right=True), names)
