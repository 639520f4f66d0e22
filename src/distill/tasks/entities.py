"""Entities that tags mark, and their scores: those of seqeval (Nakayama 2018), in its strict and its default mode.

Strict: an entity is what the scheme allows, and it counts where gold and predicted text agree in type and both ends.
Default (conlleval's): a sequence that the scheme does not allow is read as best it can be, an I that nothing begins as
a beginning. Nothing here imports `seqeval.metrics`, which takes seconds, before there is something to score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from seqeval import scheme as schemes

Tags = Sequence[str]
#: seqeval's class of each scheme. IO is read as IOB1, which allows entities without any B.
SCHEMES = {
    "IO": schemes.IOB1,
    "IOB1": schemes.IOB1,
    "IOB2": schemes.IOB2,
    "IOBES": schemes.IOBES,
    "BILOU": schemes.BILOU,
}


class Entity(NamedTuple):
    """An entity: its type, the number of its first word, and the one after its last."""

    kind: str
    start: int
    end: int


def find(texts: Sequence[Tags], scheme: str | None) -> list[list[Entity]]:
    """The entities of each text, in their order.

    Args:
        scheme: a key of `SCHEMES`, in strict mode; None: in default mode, which knows all schemes.
    """
    if scheme is None:
        from seqeval.metrics.sequence_labeling import get_entities

        return [[Entity(kind, start, last + 1) for kind, start, last in get_entities(list(tags))] for tags in texts]
    found = schemes.Entities([list(tags) for tags in texts], SCHEMES[scheme]).entities
    return [[Entity(entity.tag, entity.start, entity.end) for entity in entities] for entities in found]


def scores(gold: Sequence[Tags], predicted: Sequence[Tags], scheme: str) -> dict[str, float]:
    """Precision, recall and f1 over all entities (micro), strict, and as default_…; accuracy of the words; all 0–100.

    Args:
        gold, predicted: tags of each text, equally many.
    """
    from seqeval.metrics import sequence_labeling, v1

    texts = [[list(tags) for tags in side] for side in (gold, predicted)]
    options = {"average": "micro", "zero_division": 0}
    strict = v1.precision_recall_fscore_support(*texts, scheme=SCHEMES[scheme], **options)
    default = sequence_labeling.precision_recall_fscore_support(*texts, **options)
    names = ("precision", "recall", "f1")
    found = {name: 100.0 * float(value) for name, value in zip(names, strict, strict=False)}
    found |= {f"default_{name}": 100.0 * float(value) for name, value in zip(names, default, strict=False)}
    return found | {"accuracy": 100.0 * float(sequence_labeling.accuracy_score(*texts))}


def by_type(gold: Sequence[Tags], predicted: Sequence[Tags], scheme: str) -> dict[str, dict[str, float]]:
    """Precision, recall and f1 (0–100, strict) of each type that is gold or predicted, by name; entities: gold ones."""
    from seqeval.metrics import v1

    texts = [[list(tags) for tags in side] for side in (gold, predicted)]
    kinds = v1.unique_labels(*texts, SCHEMES[scheme])
    if not kinds:
        return {}
    values = v1.precision_recall_fscore_support(*texts, scheme=SCHEMES[scheme], average=None, zero_division=0)
    return {
        kind: {"precision": 100.0 * p, "recall": 100.0 * r, "f1": 100.0 * f, "entities": int(count)}
        for kind, p, r, f, count in zip(kinds, *(np.asarray(part).tolist() for part in values), strict=True)
    }


def of_words(features: Any, values: np.ndarray, sizes: Sequence[int], missing: Any) -> list[list[Any]]:
    """What the tokens of a split say of its words, put together from all windows of each text.

    Args:
        features: table with columns `words`, `length` and `example_index` (`data.features.word_features`).
        values: a value for each token, (tokens,).
        sizes: number of words of each text.
        missing: the value of a word without a token of its own.

    Returns:
        a value for each word of each text.
    """
    index = np.repeat(features.column("example_index").to_numpy(), features.column("length").to_numpy())
    words = np.asarray(features.column("words").combine_chunks().flatten())
    starts = np.concatenate([[0], np.cumsum(sizes)])
    flat = np.full(starts[-1], missing, np.asarray(values).dtype)
    own = words >= 0
    flat[starts[index[own]] + words[own]] = np.asarray(values)[own]
    return [part.tolist() for part in np.split(flat, starts[1:-1])]
