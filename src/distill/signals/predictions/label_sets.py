"""A record's outputs where a row may have several classes (task multi_label): always by the classes' names.

probabilities: {name: p}    or a column `probability:<name>` for each class; each from 0 to 1, whatever their sum
logits: {name: x}           or a column `logit:<name>` for each class: log-odds
labels: [name, …]           with `confidence`, the probability that a decision is right; an empty list: no class
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distill.data.sources import label_sets
from distill.data.sources.squad_json import show
from distill.signals.log_probabilities import FLOOR
from distill.signals.predictions.classes import LOGITS, PROBABILITIES, columns_of, listed, read_numbers
from distill.signals.predictions.files import Record

LABELS = "labels"


def read_labels(record: Record, classes: Sequence[str]) -> tuple[np.ndarray, str]:
    """Log-odds of a row's classes, float32 (C,), in the order of `classes`; and the form that they were stored in.

    Probabilities become log-odds (`log_odds`), stored logits stay as they are. Labels beside either are not read.

    Raises:
        UserError: the record has none of the forms or several, a class is unknown or missing, or a value is wrong.
    """
    stated = read_numbers(record, classes)
    if stated is None:
        return _of_names(record, classes), LABELS
    if stated.form == LOGITS:
        return stated.numbers.astype(np.float32), LOGITS
    outside = stated.numbers[(stated.numbers < 0) | (stated.numbers > 1)]
    if len(outside):
        fix = "a probability is from 0 to 1, each class for itself: are these logits?"
        record.fail(stated.name, f"has {outside[0]:g}", fix)
    return log_odds(stated.numbers), PROBABILITIES


def log_odds(probabilities: np.ndarray) -> np.ndarray:
    """log(p / (1 − p)), float32, of the same shape; p is kept `FLOOR` away from 0 and 1."""
    shares = np.clip(np.asarray(probabilities, np.float64), FLOOR, 1 - FLOOR)
    return (np.log(shares) - np.log1p(-shares)).astype(np.float32)


def _of_names(record: Record, classes: Sequence[str]) -> np.ndarray:
    if LABELS not in record.values:
        fix = f"give {PROBABILITIES}, {LOGITS} or {LABELS} (docs/teachers.md)"
        record.fail("columns", f"have no outputs of the teacher among {columns_of(record)}", fix)
    value = record.values[LABELS]
    if not isinstance(value, list):
        fix = "write a list of names (JSON lines, Parquet), or a column probability:<name> for each class"
        record.fail(LABELS, f"is {show(value)}", fix)
    names = label_sets.class_names(value, LABELS, record.file, record.at, "")
    if strange := [name for name in names if name not in classes]:
        fix = f"the data's classes are {listed(classes)}"
        record.fail(LABELS, f"has {show(strange[0])}, which is no class", fix)
    confidence = 1.0
    if "confidence" in record.values:
        confidence = record.number(record.values["confidence"], "confidence")
    if not 0.5 <= confidence <= 1:
        record.fail("confidence", f"is {confidence:g}", "the probability of a decision that is made is from 0.5 to 1")
    return log_odds(np.array([confidence if name in names else 1 - confidence for name in classes]))
