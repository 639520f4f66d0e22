"""A record's outputs for tasks with classes and for regression: always by the classes' names, never by their order.

probabilities: {name: p}    or a column `probability:<name>` for each class
logits: {name: x}           or a column `logit:<name>` for each class
label: name                 with `confidence`, its probability; the rest is spread evenly over the other classes
score: x                    regression
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from distill.data.sources import labels
from distill.data.sources.squad_json import show
from distill.signals.log_probabilities import log_probabilities
from distill.signals.predictions.files import Record

#: How far the probabilities of a row may add up to another number than 1: those of three classes with two digits do.
TOLERANCE = 0.01
PROBABILITIES, LOGITS, LABEL, SCORE = "probabilities", "logits", "label", "score"
#: What begins the names of columns of single classes.
COLUMNS = {"probability:": PROBABILITIES, "logit:": LOGITS}
_LARGEST = float(np.finfo(np.float32).max)


def read_classes(record: Record, classes: Sequence[str]) -> tuple[np.ndarray, str]:
    """Logits of a row, float32 (C,), in the order of `classes`; and the form that they were stored in.

    Probabilities become log-probabilities (`signals.log_probabilities`), stored logits stay as they are. A label
    beside probabilities or logits is not read.

    Raises:
        UserError: the record has none of the forms or several, a class is unknown or missing, or a value is wrong.
    """
    stated = read_numbers(record, classes)
    if stated is None:
        return _of_label(record, classes), LABEL
    if stated.form == LOGITS:
        return stated.numbers.astype(np.float32), LOGITS
    return log_probabilities(normalized(record, stated.name, stated.numbers)), PROBABILITIES


class Stated(NamedTuple):
    """What a record says of each class.

    Attributes:
        name: the column, or what begins the names of the columns.
        form: `PROBABILITIES` or `LOGITS`.
        numbers: float64, (C,).
    """

    name: str
    form: str
    numbers: np.ndarray


def read_numbers(record: Record, classes: Sequence[str]) -> Stated | None:
    """The probabilities or logits of a row in the order of `classes`; None where it has neither.

    Raises:
        UserError: the record has several of these forms, a class is unknown or missing, or a value is wrong.
    """
    given = _given(record)
    if len(given) > 1:
        record.fail(" and ".join(given), "stand beside each other", "give one of them")
    if not given:
        return None
    ((name, values),) = given.items()
    form = COLUMNS.get(name, name)
    numbers = np.array(in_order(record, name, values, classes))
    if form == LOGITS and np.abs(numbers).max() > _LARGEST:
        record.fail(name, f"has {np.abs(numbers).max():g}", "logits must fit into float32")
    return Stated(name, form, numbers)


def read_score(record: Record) -> tuple[np.ndarray, str]:
    """The number of a row of regression, float32 (1,), and the form.

    Raises:
        UserError: there is no finite number.
    """
    if SCORE not in record.values:
        record.fail(SCORE, f"is missing from {columns_of(record)}", "the task needs the teacher's number")
    value = record.number(record.values[SCORE], SCORE)
    if abs(value) > _LARGEST:
        record.fail(SCORE, f"is {value:g}", "it must fit into float32")
    return np.array([value], np.float32), SCORE


def normalized(record: Record, field: str, probabilities: np.ndarray) -> np.ndarray:
    """Probabilities (n,) that add up to 1 exactly.

    Raises:
        UserError: one is negative, or they add up to another number, beyond `TOLERANCE`.
    """
    if (probabilities < 0).any():
        record.fail(field, f"has {probabilities.min():g}", "a probability is not negative: are these logits?")
    total = probabilities.sum()
    if abs(total - 1) > TOLERANCE * (1 + 1e-9):
        record.fail(field, f"add up to {total:g}", f"they must add up to 1 (up to {TOLERANCE:g})")
    return probabilities / total


def _given(record: Record) -> dict[str, dict[str, Any]]:
    """The forms that the record has, but for labels: name of the column, or beginning of the columns → its values."""
    given = {name: record.values[name] for name in (PROBABILITIES, LOGITS) if name in record.values}
    for beginning in COLUMNS:
        if wide := {k.removeprefix(beginning): v for k, v in record.values.items() if k.startswith(beginning)}:
            given[beginning] = wide
    return given


def in_order(record: Record, name: str, values: Any, classes: Sequence[str]) -> list[float]:
    """The numbers of all classes in their order, of an object with a number for each by its name."""
    if not isinstance(values, dict):
        record.fail(name, f"is {show(values)}", "it must be an object with a number for each class, by its name")
    values = {str(key): value for key, value in values.items() if value is not None}
    if unknown := [key for key in values if key not in classes]:
        record.fail(name, f"has {show(unknown[0])}, which is no class", f"the data's classes are {listed(classes)}")
    if missing := [key for key in classes if key not in values]:
        fix = f"give every class a number: the data's classes are {listed(classes)}"
        record.fail(name, f"lacks class {show(missing[0])}", fix)
    return [record.number(values[key], f"{name}{'' if name in COLUMNS else '.'}{key}") for key in classes]


def _of_label(record: Record, classes: Sequence[str]) -> np.ndarray:
    if LABEL not in record.values:
        fix = f"give {PROBABILITIES}, {LOGITS} or {LABEL} (docs/teachers.md)"
        record.fail("columns", f"have no outputs of the teacher among {columns_of(record)}", fix)
    name = labels.class_name(record.values[LABEL], LABEL, record.file, record.at)
    if name not in classes:
        record.fail(LABEL, f"is {show(name)}, which is no class", f"the data's classes are {listed(classes)}")
    confidence = 1.0
    if "confidence" in record.values:
        confidence = record.number(record.values["confidence"], "confidence")
    if not 1 / len(classes) <= confidence <= 1:
        fix = f"the probability of the label is from 1/{len(classes)}, the share of each class, to 1"
        record.fail("confidence", f"is {confidence:g}", fix)
    shares = np.full(len(classes), (1 - confidence) / (len(classes) - 1))
    shares[list(classes).index(name)] = confidence
    return log_probabilities(shares)


def columns_of(record: Record) -> str:
    """The names of a record's columns, for messages."""
    return listed(list(record.values))


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names in a message, the first `most`."""
    listed = ", ".join(map(show, names[:most]))
    return f"{listed} and {len(names) - most:,} more" if len(names) > most else listed or "none"
