"""Rows of every task in a family's tokens, as stage prepare makes them, and labels for them."""

from __future__ import annotations

import pyarrow as pa
import torch
from torch import Tensor

from distill.data.features import question_features, text_features
from distill.data.loading.batches import Collator
from distill.data.loading.template import with_token_types
from distill.models import windows
from distill.tasks.base import Task
from distill.tasks.registry import load_task, task_names
from tests.helpers import families, text

#: Names of classes, of the tasks that have any.
_CLASSES = {
    "classification": ("a", "b", "c"),
    "multi_label": ("a", "b", "c"),
    "token_classification": ("O", "B-a", "I-a"),
}
TASKS = {name: load_task(name, labels=_CLASSES.get(name, ())) for name in task_names()}
#: Tokens that rows are padded to.
WIDTH = 128
# Rows of odd and even lengths: some architectures lose the last token of one kind.
_WORDS = [" ".join(f"w{(3 * number + length) % 35}" for number in range(length)) for length in (60, 8, 9, 21)]


def table(task: Task, template: str) -> pa.Table:
    """Rows of the task in the tokens of a family, the longest first; texts have no labels yet.

    Raises:
        UserError: the tokenizer is refused.
    """
    tokenizer = with_token_types(families.tokenizer(template))
    if task.name == "qa":
        empty = {"text": [], "answer_start": []}
        questions = [
            {"id": str(i), "question": "w1 w2?", "context": words, "answers": empty} for i, words in enumerate(_WORDS)
        ]
        return pa.Table.from_batches(list(question_features.encode(questions, tokenizer, WIDTH, 8)))
    pairs = text.rows([(words, "w3 w4") for words in _WORDS], [0] * len(_WORDS))
    encoded = text_features.encode(pairs, tokenizer, WIDTH, numeric=False)
    return pa.Table.from_batches([batch for batch, _ in encoded])


def rows(task: Task, template: str) -> list[windows.Row]:
    """The tokens of `table`, row by row."""
    made = table(task, template).to_pylist()
    return [{name: row[name] for name in ("input_ids", "token_type_ids") if name in row} for row in made]


def batch(task: Task, template: str) -> dict[str, Tensor]:
    """All rows but the longest, padded, with labels.

    Raises:
        UserError: the tokenizer is refused.
    """
    made = [row | {"index": i} for i, row in enumerate(table(task, template).to_pylist()[1:])]
    if task.name == "qa":
        return Collator(0, task.labels, task.extra_columns)(made)
    tokens = Collator(0, ())(made)
    ids = tokens["input_ids"]
    word, count = ids > 4, len(ids)  # special tokens come first in the vocabulary
    classes = torch.arange(max(task.channels, 1))
    labels = {
        "number": torch.arange(count) * 0.75 - 1,
        "relevance": (torch.arange(count) == 1).float(),
        "labels": ((torch.arange(count)[:, None] + classes) % 2).float(),
        "classes": torch.where(word, ids % 3, -100) if task.per_token else torch.arange(count) % 3,
    }[task.logits_of]
    columns = {"labels": labels, "group": torch.zeros(count, dtype=torch.long)}
    # Whatever it says of a word: half of the words of a row have one value, half the other.
    halves = (torch.arange(ids.shape[1]) > ids.shape[1] // 4).long().expand_as(ids)
    extra = {name: torch.where(word, halves, -1) for name in task.extra_columns}
    return tokens | {name: columns[name] for name in task.labels} | extra
