"""Sibling of the embedded corpus for ranking: a question about an invented town, and passages, some of which answer it.

Of the `PASSAGES` passages of a question one states the fact that it asks for, and for a quarter of the questions a
second one does. The others state other facts about the town, or the fact in question about another town, so
that neither the town's name nor what is asked for decides alone. Every passage has two sentences.

Like `distill.data.synthetic.atlas` it is for trying the pipeline, not for ranking methods, and gives the same bytes
everywhere.
"""

from __future__ import annotations

from random import Random
from typing import Any

from distill.data.synthetic.relations import RELATIONS, TOWNS, VALUES, Relation
from distill.errors import UserError

#: Passages of a question.
PASSAGES = 8
# Share of the questions that two passages answer.
_TWO = 0.25

Group = dict[str, Any]


def generate(text_train: int, text_validation: int, seed: int, held_out: float) -> dict[str, list[Group]]:
    """Generate both splits. No town of one split is named in the other.

    Args:
        text_train, text_validation: passages of each split; every question has `PASSAGES`, the last one too.
        seed: any integer; another seed gives other questions.
        held_out: share of the validation questions worded as no training question is.

    Returns:
        split → groups: {"id", "query", "passages": [{"text", "label": 0 or 1}]}; no question twice in a split.

    Raises:
        UserError: there are fewer different questions.
    """
    names = list(TOWNS)
    Random(f"{seed}/passages/towns").shuffle(names)
    cut = len(names) // 5
    towns = {"train": names[cut:], "validation": names[:cut]}
    found = {}
    for split, count in {"train": text_train, "validation": text_validation}.items():
        queries = -(-count // PASSAGES)
        if queries > len(towns[split]):
            most = len(towns[split]) * PASSAGES
            raise UserError(f"params.yaml: atlas.text_{split} is {count}, more than the {most} passages of all towns")
        draw = Random(f"{seed}/passages/{split}")
        asked = draw.sample(towns[split], queries)
        writer = _Writer(towns[split], held_out if split == "validation" else 0.0, draw)
        found[split] = [
            {"id": f"passages-{split}-{number:05d}"} | writer.group(town) for number, town in enumerate(asked)
        ]
    return found


class _Writer:
    """Makes the groups of a split, about the towns of `pool`."""

    def __init__(self, pool: list[str], held_out: float, draw: Random):
        self.pool, self.held_out, self.draw = pool, held_out, draw

    def group(self, town: str) -> Group:
        """A question about a town, with its passages in random order."""
        draw = self.draw
        relation, *others = draw.sample(RELATIONS, len(RELATIONS))
        wordings = relation.held_out if draw.random() < self.held_out else relation.questions
        value, relevant = self._value(relation, town), 2 if draw.random() < _TWO else 1
        passages: dict[str, int] = {}
        while len(passages) < PASSAGES:
            if len(passages) < relevant:
                text, label = self._passage(town, relation, value, others), 1
            elif len(passages) % 2:  # another fact about the town
                first, *rest = draw.sample(others, len(others))
                text, label = self._passage(town, first, self._value(first, town), rest), 0
            else:  # the fact, of another town
                other = self._other(town)
                text, label = self._passage(other, relation, self._value(relation, other), others), 0
            passages.setdefault(text, label)
        listed = [{"text": text, "label": label} for text, label in passages.items()]
        draw.shuffle(listed)
        return {"query": draw.choice(wordings).format(e=town), "passages": listed}

    def _passage(self, town: str, relation: Relation, value: str, others: list[Relation]) -> str:
        """Two sentences about a town, the first of which names it: a fact, and another one, of `others`."""
        other = self.draw.choice(others)
        facts = [(relation, value), (other, self._value(other, town))]
        self.draw.shuffle(facts)
        sentences = [
            self.draw.choice(fact.statements).format(e=subject, v=said)
            for (fact, said), subject in zip(facts, (town, "the town"), strict=True)
        ]
        return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)

    def _value(self, relation: Relation, town: str) -> str:
        return self._other(town) if relation.kind == "town" else self.draw.choice(VALUES[relation.kind])

    def _other(self, town: str) -> str:
        other = town
        while other == town:
            other = self.draw.choice(self.pool)
        return other
