"""Samples of changed texts, for people to look at: training texts, and what a method learns from beside them.

That is what a generator makes of a text, its neighbours, or its augmented copies. Teacher and student are asked about
all of them, as the talk's Table 6 shows generated texts. Both sides are decoded from tokens, so that they differ where
tokens do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from distill.data.loading.batches import Collator, Rows
from distill.data.loading.prepared import Prepared
from distill.data.loading.template import Template
from distill.signals.teacher import Teacher
from distill.tasks.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Training rows of a sample, and changed texts of each that are shown.
ROWS, TEXTS = 20, 2
# Rows at a time: a method may run a model on many candidates of each, in the memory that its training left.
_BATCH = 4


@dataclass(frozen=True)
class Changed:
    """Texts that are learnt from beside those of a batch of B rows.

    Attributes:
        source: `generator`, `neighbours` or `copies`.
        batch: padded batch of B · n rows, those of a row one after another.
        targets: the teacher's logits for them, (B · n, L, C) or (B · n, C); None: they are not known beforehand.
    """

    source: str
    batch: dict[str, Tensor]
    targets: Tensor | None = None

    def first(self, count: int, rows: int) -> Changed:
        """At most `count` texts of each of `rows` rows."""
        each = len(self.batch["input_ids"]) // rows
        places = [row * each + i for row in range(rows) for i in range(min(each, count))]
        batch = {name: value[places] for name, value in self.batch.items()}
        return Changed(self.source, batch, None if self.targets is None else self.targets[places])


def rows_of(count: int) -> list[int]:
    """At most `ROWS` row numbers, evenly spaced over `count` rows: the same ones for every method and seed."""
    return np.linspace(0, count - 1, min(ROWS, count)).round().astype(int).tolist()


class Texts:
    """Texts of token rows, by name, without the special tokens around and between them.

    Args:
        names: names of the one or two texts of a row.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, names: tuple[str, ...]):
        self.tokenizer, self.names = tokenizer, names
        self.template = Template(tokenizer, pair=len(names) == 2)

    @classmethod
    def of(cls, data: Prepared) -> Texts:
        """Those of the training rows: `question` and `context`, or `text` and, in pairs, `text_pair`."""
        examples = data.examples(data.main_split)
        if "question" in examples.column_names:
            return cls(data.tokenizer(), ("question", "context"))
        pair = examples[0]["text_pair"] is not None
        return cls(data.tokenizer(), ("text", "text_pair") if pair else ("text",))

    def __call__(self, batch: dict[str, Tensor]) -> list[dict[str, str]]:
        """The texts of each row of a padded batch."""
        rows = zip(batch["input_ids"].tolist(), batch["attention_mask"].sum(1).tolist(), strict=True)
        return [
            {name: self.tokenizer.decode(part).strip() for name, part in zip(self.names, self._parts(ids), strict=True)}
            for ids in (ids[:length] for ids, length in rows)
        ]

    def _parts(self, ids: list[int]) -> list[list[int]]:
        before, *between, after = self.template.sizes.tolist()
        body = ids[before : len(ids) - after]
        if not between:
            return [body]
        separator = self.template.ids[before : before + between[0]].tolist()
        # The first place where it stands; a body without one is all first text.
        places = range(len(body) - len(separator) + 1)
        at = next((i for i in places if body[i : i + len(separator)] == separator), len(body))
        return [body[:at], body[at + len(separator) :]]


def facts(data: Prepared, rows: list[int]) -> list[dict[str, Any]]:
    """Number, `id` and `gold` of training rows: the class or classes, the number, the question's answers, the tagged
    words, or null: no label.
    """
    features = data.features(data.main_split)
    examples, index = data.examples(data.main_split), features.data.column("example_index").to_numpy()
    classes, found = data.meta.get("labels", ()), []
    for row, example in zip(rows, examples.select(index[rows].tolist()), strict=True):
        if "question" in example:
            gold = list(dict.fromkeys(example["answers"]["text"])) if data.has_labels else None
        elif not data.has_labels:
            gold = None
        elif "tags" in example:
            words = zip(example["starts"], example["ends"], example["tags"], strict=True)
            gold = [f"{classes[tag]}: {example['text'][a:b]}" for a, b, tag in words if classes[tag] != "O"]
        else:
            gold = example["label"]
            if classes:
                gold = [classes[number] for number in gold] if isinstance(gold, list) else classes[gold]
        found.append({"row": row, "id": example["id"], "gold": gold})
    return found


def copies(features: Any, originals: int, index: Tensor, collate: Collator) -> Changed:
    """The augmented copies of training rows `index` (B,), at most `TEXTS` of each.

    Args:
        features: the training features, then the copies of the first, of the second … (stage augment).
        originals: number of the training features.
    """
    each = len(features) // originals - 1
    wanted = [originals + row * each + copy for row in index.tolist() for copy in range(min(each, TEXTS))]
    rows = Rows(features, ("input_ids", "token_type_ids", *collate.labels)).__getitems__(wanted)
    return Changed("copies", {name: value.to(index.device) for name, value in collate(rows).items()})


def take(
    data: Prepared,
    task: Task,
    collate: Collator,
    device: torch.device,
    changes: Callable[[dict[str, Tensor]], Sequence[Changed]],
    student: Callable[[dict[str, Tensor]], Tensor],
    teacher: Teacher | None,
) -> list[dict[str, Any]]:
    """The sample: an entry for each row of `rows_of` and each source; none where nothing is changed.

    An entry has what `facts` says of its row, `source`, `original`, and `changed`, a list. Each of these texts has
    `text`, its parts by name, and the probabilities of `teacher` and `student` (`Task.probabilities`). Without a
    teacher there are none but those of `Changed.targets`.

    Args:
        collate: makes batches with all that `changes` reads.
        changes: function from a batch to what is learnt from beside it.
        student: function from a batch to logits.
    """
    features = data.features(data.main_split)
    rows = rows_of(len(features))
    table = Rows(features, ("input_ids", "token_type_ids", *collate.labels, *collate.extra))
    pairs: list[tuple[dict[str, Tensor], Changed]] = []
    for start in range(0, len(rows), _BATCH):
        loaded = collate(table.__getitems__(rows[start : start + _BATCH]))
        batch = {name: value.to(device) for name, value in loaded.items()}
        pairs += [(batch, changed) for changed in changes(batch)]
    if not pairs:
        return []
    texts, known, found = Texts.of(data), {fact["row"]: fact for fact in facts(data, rows)}, []

    def described(batch: dict[str, Tensor], targets: Tensor | None) -> list[dict[str, Any]]:
        logits = {"student": student(batch)} if targets is None else {"teacher": targets, "student": student(batch)}
        asked = {name: task.probabilities(values, batch) for name, values in logits.items()}
        named = enumerate(texts(batch))
        return [{"text": text, **{name: answers[i] for name, answers in asked.items()}} for i, text in named]

    for batch, changed in pairs:
        new = changed.first(TEXTS, len(batch["input_ids"]))
        targets = new.targets if new.targets is not None or teacher is None else teacher(new.batch).logits
        before = described(batch, None if teacher is None else teacher(batch).logits)
        after = described(new.batch, targets)
        each = len(after) // len(before)
        for i, (row, original) in enumerate(zip(batch["index"].tolist(), before, strict=True)):
            texts_of_row = after[i * each : (i + 1) * each]
            found.append({**known[row], "source": changed.source, "original": original, "changed": texts_of_row})
    return found
