"""Rows that stand in two splits: a score on what was trained on says little.

Ids do not count, nor do capitals, spaces and the forms of Unicode that look alike (NFC).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from distill.data.sources.squad_json import Row


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


def _texts(row: Row) -> tuple[str, str]:
    return _normalized(row["text"]), _normalized(row["text_pair"] or "")


def _question(row: Row) -> tuple[str, str]:
    return _normalized(row["context"]), _normalized(row["question"])


@lru_cache(maxsize=1024)  # the questions of a context stand together
def _normalized(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())
