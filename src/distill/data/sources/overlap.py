"""How much of a split training has seen: a score on what was trained on says little.

Ids do not count, nor do capitals, spaces and the forms of Unicode that look alike (NFC); nor, for parts of texts,
punctuation.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from distill.data.sources.containment import MIN_WORDS, Sequences
from distill.data.sources.squad_json import Row

#: Share of a split above which `warnings` warns.
TOLERATED = 0.05
# What `warnings` warns of.
_SEEN = {
    "part": "rows have a text that is part of a training text",
    "groups": "rows are of groups that are in train",
    "paragraphs": "paragraphs are in train",
    "questions": "questions are in train",
}


def key(row: Row) -> tuple[str, str]:
    """What rows with the same text share: both texts, or context and question."""
    return _question(row) if "context" in row else _texts(row)


def shared_texts(known: Iterable[Row], rows: Iterable[Row]) -> int:
    """The number of `rows` whose text (both texts, for pairs) is also in `known`."""
    texts = {_texts(row) for row in known}
    return sum(_texts(row) in texts for row in rows)


def shared_questions(known: Iterable[Row], rows: Iterable[Row]) -> tuple[int, int]:
    """The numbers of `rows` whose question is also in `known`, on the same context; and whose context is, at all."""
    questions = {_question(row) for row in known}
    contexts = {context for context, _ in questions}
    keys = [_question(row) for row in rows]
    return sum(key in questions for key in keys), sum(context in contexts for context, _ in keys)


def shares(splits: Mapping[str, Sequence[Row]]) -> dict[str, dict[str, int | float | None]]:
    """What of each split but "train" is in the training data, by split.

    Args:
        splits: rows by split, "train" among them: texts (`distill.data.sources.text_sets`) or questions.

    Returns:
        of texts: `compared`, the number of rows with a text of `MIN_WORDS` words or more; `part`, the share of these
        with such a text that is equal to a training text or part of it; `related`, the share with such a text that is
        part of a training text or has such a training text as its part; and, where the rows have groups, `groups`, the
        share of all rows whose group is in the training data. Of questions: `paragraphs`, the share of the paragraphs,
        and `questions`, the share of the questions, on the same paragraph. Shares are 0 to 1, of four decimals; null
        where nothing was compared.
    """
    return _of_questions(splits) if "context" in splits["train"][0] else _of_texts(splits)


def lines(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for people on each split of `shares`."""
    result = []
    for split, share in found.items():
        if "paragraphs" in share:
            result.append(f"{split}: {_percent(share['paragraphs'])} of the paragraphs are in train,"
                          f" {_percent(share['questions'])} of the questions are")  # fmt: skip
            continue
        line = f"{split}: no text of {MIN_WORDS} words or more"
        if share["compared"]:
            line = (
                f"{split}: of {share['compared']:,} rows with texts of {MIN_WORDS} words or more, "
                f"{_percent(share['part'])} have one that is part of a training text, {_percent(share['related'])} one"
                " that is or holds one"
            )
        if "groups" in share:
            line += f"; {_percent(share['groups'])} of the rows are of groups in train"
        result.append(line)
    return result


def warnings(found: Mapping[str, Mapping[str, Any]], fixes: Mapping[str, str]) -> list[str]:
    """A warning for each split of which more than `TOLERATED` is in train.

    What only holds a training text does not count: a phrase of three words inside a sentence gives little away.

    Args:
        found: result of `shares`.
        fixes: what to do, by split.
    """
    result = []
    for split, share in found.items():
        seen = [(share[name], words) for name, words in _SEEN.items() if (share.get(name) or 0) > TOLERATED]
        if seen:
            most, words = max(seen)
            result.append(
                f"split {split}: {_percent(most)} of its {words}: its scores say less about new data; {fixes[split]}"
            )
    return result


def _of_texts(splits: Mapping[str, Sequence[Row]]) -> dict[str, dict[str, int | float | None]]:
    sequences = Sequences()
    numbers = {
        split: [
            [sequences.number(text) for text in (row["text"], row["text_pair"]) if text is not None] for row in rows
        ]
        for split, rows in splits.items()
    }
    long = np.array([len(sequence) >= MIN_WORDS for sequence in sequences.sequences], bool)
    known = np.zeros(len(long), bool)
    known[[number for row in numbers["train"] for number in row]] = True
    known &= long
    parts, wholes = sequences.contained()
    part, related = known.copy(), known.copy()
    part[parts[known[wholes]]] = True
    related[wholes[known[parts]]] = True
    related |= part
    groups = {row["group"] for row in splits["train"] if "group" in row}
    result = {}
    for split, rows in list(splits.items())[1:]:
        compared = [row for row in numbers[split] if long[row].any()]
        result[split] = {"compared": len(compared)}
        for name, flags in (("part", part), ("related", related)):
            result[split][name] = _share(sum(bool(flags[row].any()) for row in compared), len(compared))
        if "group" in rows[0]:
            result[split]["groups"] = _share(sum(row["group"] in groups for row in rows), len(rows))
    return result


def _of_questions(splits: Mapping[str, Sequence[Row]]) -> dict[str, dict[str, int | float | None]]:
    questions = {_question(row) for row in splits["train"]}
    contexts = {context for context, _ in questions}
    result = {}
    for split, rows in list(splits.items())[1:]:
        keys = [_question(row) for row in rows]
        paragraphs = {context for context, _ in keys}
        result[split] = {
            "paragraphs": _share(len(paragraphs & contexts), len(paragraphs)),
            "questions": _share(sum(key in questions for key in keys), len(keys)),
        }
    return result


def _share(count: int, total: int) -> float | None:
    return round(count / total, 4) if total else None


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _texts(row: Row) -> tuple[str, str]:
    return _normalized(row["text"]), _normalized(row["text_pair"] or "")


def _question(row: Row) -> tuple[str, str]:
    return _normalized(row["context"]), _normalized(row["question"])


@lru_cache(maxsize=1024)  # the questions of a context stand together
def _normalized(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())
