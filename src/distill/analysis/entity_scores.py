"""Precision, recall and F1 of each type of entity, as seqeval has them in strict mode, means over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from distill.tasks import entities

#: Types that are listed, those with the most entities in the reported split.
MOST = 20
_SCORES = ("precision", "recall", "f1")
_NONE = dict.fromkeys((*_SCORES, "entities"), 0.0)


def of(
    gold: Sequence[Sequence[str]], said: Mapping[str, Mapping[int | None, Sequence[Sequence[str]]]], scheme: str
) -> dict[str, Any]:
    """The scores of up to `MOST` types.

    Args:
        gold: tags of each text of the reported split.
        said: a model's tags of each text, by model and seed.
        scheme: the scheme of the tags.

    Returns:
        entities: number of gold entities; types, the most frequent first: each {type, entities: gold ones, scores:
        model → precision, recall and f1, 0–100}.
    """
    found = {name: [entities.by_type(gold, tags, scheme) for tags in seeds.values()] for name, seeds in said.items()}
    counts: dict[str, int] = {}
    for runs in found.values():
        for run in runs:
            counts |= {kind: int(values["entities"]) for kind, values in run.items()}
    listed = sorted(counts, key=lambda kind: (-counts[kind], kind))[:MOST]
    return {
        "entities": sum(counts.values()),
        "types": [
            {
                "type": kind,
                "entities": counts[kind],
                "scores": {
                    name: {score: fmean(run.get(kind, _NONE)[score] for run in runs) for score in _SCORES}
                    for name, runs in found.items()
                },
            }
            for kind in listed
        ],
    }
