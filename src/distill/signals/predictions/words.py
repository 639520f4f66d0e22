"""A record's outputs for the words of a text: always by the tags' names, one entry for each word of the data's text.

probabilities: [{name: p}, …]
tags: [name, …]             with `confidences`, the probability of each; the rest is spread evenly over the other tags
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distill.data.sources.squad_json import show
from distill.signals.log_probabilities import log_probabilities
from distill.signals.predictions import classes
from distill.signals.predictions.files import Record

PROBABILITIES, TAGS, CONFIDENCES = "probabilities", "tags", "confidences"


def read_words(record: Record, names: Sequence[str], count: int) -> tuple[np.ndarray, str]:
    """Log-probabilities of the words' tags, float32 (count, C), and the form that they were stored in.

    Args:
        names: the data's tags, in order.
        count: number of words of the text.

    Raises:
        UserError: the record has none of the forms or both, other than `count` entries, an unknown tag, or a value that
            is no probability.
    """
    given = [name for name in (PROBABILITIES, TAGS) if name in record.values]
    if len(given) != 1:
        problem = "stand beside each other" if given else f"are missing among {', '.join(record.values)}"
        record.fail(f"{PROBABILITIES} and {TAGS}", problem, "give one of them (docs/teachers.md)")
    values = _list(record, given[0], count)
    if given[0] == PROBABILITIES:
        shares = []
        for number, value in enumerate(values):
            field = f"{PROBABILITIES}[{number}]"
            shares.append(classes.normalized(record, field, np.array(classes.in_order(record, field, value, names))))
        return log_probabilities(np.array(shares)), PROBABILITIES
    sure = _list(record, CONFIDENCES, count) if CONFIDENCES in record.values else [1.0] * count
    shares = np.empty((count, len(names)))
    for number, (tag, value) in enumerate(zip(values, sure, strict=True)):
        if tag not in names:
            record.fail(f"{TAGS}[{number}]", f"is {show(tag)}, which is no tag", f"the data's are {', '.join(names)}")
        confidence = record.number(value, f"{CONFIDENCES}[{number}]")
        if not 1 / len(names) <= confidence <= 1:
            fix = f"the probability of the tag is from 1/{len(names)}, the share of each, to 1"
            record.fail(f"{CONFIDENCES}[{number}]", f"is {confidence:g}", fix)
        shares[number] = (1 - confidence) / (len(names) - 1)
        shares[number, list(names).index(tag)] = confidence
    return log_probabilities(shares), TAGS


def _list(record: Record, name: str, count: int) -> list[Any]:
    values = record.values[name]
    if not isinstance(values, list):
        record.fail(name, f"is {show(values)}", "it must be a list with an entry for each word")
    if len(values) != count:
        fix = "the words are those of the data: of a text without words of its own, see docs/data.md"
        record.fail(name, f"has {len(values)} entries for the {count} words of the text", fix)
    return values


def to_tokens(features: Sequence[dict[str, Any]], outputs: Sequence[np.ndarray | None], channels: int) -> np.ndarray:
    """What is known of words on the tokens that stand for them, float32 (tokens, C); 0 at all others.

    Args:
        features: rows with `words` (`data.features.word_features`).
        outputs: of the text of each, (words, C); None: nothing is known.
    """
    found = []
    for feature, given in zip(features, outputs, strict=True):
        words = np.array(feature["words"])
        logits = np.zeros((len(words), channels), np.float32)
        if given is not None:
            logits[words >= 0] = given[words[words >= 0]]
        found.append(logits)
    return np.concatenate(found)
