"""A record's answers to a question: texts or character spans with probabilities, no answer among them.

answers: [{text, start, probability}, …]    text "": no answer; start: its first character in the context, optional
answer: text                                 a single one, of probability 1; with `start` where it is known
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from distill.data.sources.squad_json import show
from distill.signals.predictions.classes import normalized
from distill.signals.predictions.files import ANSWER, Record

ANSWERS = "answers"


@dataclass(frozen=True)
class Answers:
    """The answers to one question.

    Attributes:
        start, end: int64, (n,): first character of each in the context, and the one behind its last.
        mass: float64, (n,): their probabilities.
        none: probability of no answer; with `mass` it adds up to 1.
        lost: probability of the texts that do not occur in the context, before the others were made to add up to 1.
    """

    start: np.ndarray
    end: np.ndarray
    mass: np.ndarray
    none: float
    lost: float


def read_answers(record: Record, context: str) -> tuple[Answers | None, str]:
    """The answers of a record, and the form that they were stored in; None: none of them occurs in the context.

    A text without `start` stands for all places where it occurs, each with an equal share: those that are whole words,
    or, where there are none, all. A text that does not occur is left out, and the others are made to add up to 1.

    Raises:
        UserError: there are no answers, or a value is wrong.
    """
    if ANSWERS in record.values:
        form, given = ANSWERS, _listed(record)
    elif ANSWER in record.values:
        form, given = ANSWER, [{"text": record.values[ANSWER], "start": record.values.get("start"), "probability": 1.0}]
    else:
        fix = f"give {ANSWERS} or {ANSWER} (docs/teachers.md)"
        record.fail("columns", f"have no answers among {', '.join(map(show, record.values)) or 'none'}", fix)
    shares = normalized(record, form, np.array([_probability(record, item, i) for i, item in enumerate(given)]))
    spans: list[tuple[int, int, float]] = []
    none = lost = 0.0
    for i, (item, share) in enumerate(zip(given, shares.tolist(), strict=True)):
        places, length = _places(record, item, context, form if form == ANSWER else f"{ANSWERS}[{i}]")
        if not length:
            none += share
        elif not places:
            lost += share
        else:
            spans += [(place, place + length, share / len(places)) for place in places]
    known = none + sum(share for _, _, share in spans)
    if known <= 0:
        return None, form
    start, end, mass = (np.array(column) for column in zip(*spans, strict=True)) if spans else np.zeros((3, 0))
    return Answers(start.astype(np.int64), end.astype(np.int64), mass / known, none / known, lost), form


def _listed(record: Record) -> list[dict[str, Any]]:
    given = record.values[ANSWERS]
    if not isinstance(given, list) or not given or not all(isinstance(item, dict) for item in given):
        record.fail(ANSWERS, f"is {show(given)}", 'it must be a list of {"text": …, "probability": …}')
    return given


def _probability(record: Record, item: dict[str, Any], number: int) -> float:
    field = f"{ANSWERS}[{number}].probability"
    value = item.get("probability")
    if value is None:
        record.fail(field, "is missing", 'give each answer its probability; no answer is {"text": ""}')
    return record.number(value, field)


def _places(record: Record, item: dict[str, Any], context: str, field: str) -> tuple[list[int], int]:
    """Where an answer begins, and its length; 0: it is no answer."""
    given, start = item.get("text"), item.get("start")
    if not isinstance(given, str):
        record.fail(f"{field}.text", f"is {show(given)}", 'it must be a string, "" for no answer')
    text = given.strip()
    if not text:
        return [], 0
    if start is None:
        return _occurrences(text, context), len(text)
    place = record.number(start, f"{field}.start")
    if place != int(place) or not context.startswith(given, int(place)) or place < 0:
        nearest = context.find(given)
        hint = f"it occurs at {nearest}" if nearest >= 0 else "it does not occur in the context"
        record.fail(f"{field}.start", f"is {show(start)}, where {show(given)} does not stand", hint)
    return [int(place) + len(given) - len(given.lstrip())], len(text)


def _occurrences(text: str, context: str) -> list[int]:
    found = [match.start() for match in re.finditer(re.escape(text), context)]
    whole = [place for place in found if _is_whole(context, place, place + len(text))]
    return whole or found


def _is_whole(context: str, start: int, end: int) -> bool:
    before, after = context[max(start - 1, 0) : start], context[end : end + 1]
    return not (before.isalnum() and context[start].isalnum()) and not (after.isalnum() and context[end - 1].isalnum())
