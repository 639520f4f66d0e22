"""Sibling of the embedded corpus for token classification: statements about invented towns, with their entities.

A text has one to three statements of `relations`, and sometimes a filler behind them; in every second one, a
statement has a value of a type in `TYPES`, of each in turn. Towns and these values are entities; others (goods, dishes,
festivals …) are not, though some of them have capitals too. The words of a town's name also occur in the names of
others, so that neither a word alone nor its capital decides.

Like `distill.data.synthetic.atlas` it is for trying the pipeline, not for ranking methods, and gives the same bytes
everywhere.
"""

from __future__ import annotations

from random import Random
from typing import Any

from distill.data.synthetic.atlas_texts import PATIENCE
from distill.data.synthetic.relations import FILLERS, RELATIONS, TOWNS, VALUES
from distill.errors import UserError

Text = dict[str, Any]
#: Kind of a value → type of the entity.
TYPES = {
    "town": "TOWN",
    "person": "PERSON",
    "year": "YEAR",
    "water": "RIVER",
    "mountain": "MOUNTAIN",
    "newspaper": "NEWSPAPER",
}
# Share of the texts that end with a filler.
_FILLED = 0.3


def generate(text_train: int, text_validation: int, seed: int) -> dict[str, list[Text]]:
    """Generate both splits. No town of one split is named in the other.

    Args:
        text_train, text_validation: texts of each split.
        seed: any integer; another seed gives other texts.

    Returns:
        split → texts: {"id", "text", "entities": [{"start", "end", "label"}]}, in characters, the end excluded; no text
        twice in a split.

    Raises:
        UserError: there are fewer different texts.
    """
    names, kinds = list(TOWNS), list(TYPES)
    Random(f"{seed}/entities/towns").shuffle(names)
    cut = len(names) // 5
    towns = {"train": names[cut:], "validation": names[:cut]}
    found: dict[str, list[Text]] = {}
    for split, count in {"train": text_train, "validation": text_validation}.items():
        draw, texts, misses = Random(f"{seed}/entities/{split}"), {}, 0
        while len(texts) < count:
            text, entities = _text(towns[split], draw, kinds[len(texts) // 2 % len(kinds)] if len(texts) % 2 else None)
            misses = misses + 1 if text in texts else 0
            texts.setdefault(text, entities)
            if misses == PATIENCE:
                raise UserError(f"params.yaml: atlas.text_{split} is {count}, more than there are texts; lower it")
        found[split] = [
            {"id": f"entities-{split}-{number:05d}", "text": text, "entities": entities}
            for number, (text, entities) in enumerate(texts.items())
        ]
    return found


def _text(towns: list[str], draw: Random, kind: str | None) -> tuple[str, list[dict[str, Any]]]:
    """A text and its entities, in order; with a value of `kind`, where one is asked for."""
    town, text, entities = draw.choice(towns), "", []
    relations = draw.sample(RELATIONS, draw.randint(1, 3))
    if kind is not None and kind not in [relation.kind for relation in relations]:
        relations[0] = draw.choice([relation for relation in RELATIONS if relation.kind == kind])
    for number, relation in enumerate(relations):
        subject = town if number == 0 or draw.random() < 0.3 else "the town"
        values = [other for other in towns if other != town] if relation.kind == "town" else VALUES[relation.kind]
        filling = {"{e}": (subject, "town" if subject == town else ""), "{v}": (draw.choice(values), relation.kind)}
        text += " " if text else ""
        begin, wording = len(text), draw.choice(relation.statements)
        for mark in sorted(filling, key=wording.index):
            before, wording = wording.split(mark)
            value, kind = filling[mark]
            text += before
            if kind in TYPES:
                entities.append({"start": len(text), "end": len(text) + len(value), "label": TYPES[kind]})
            text += value
        text += wording
        text = text[:begin] + text[begin].upper() + text[begin + 1 :]
    return text + (f" {draw.choice(FILLERS)}" if draw.random() < _FILLED else ""), entities
