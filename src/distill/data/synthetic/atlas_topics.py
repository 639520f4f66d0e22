"""Sibling of the embedded corpus for several labels per text: which topics does a short paragraph about a town have?

A paragraph states one to three facts of different topics, or none, among facts that belong to no topic, facts about
another town, and remarks that name words of topics without stating a fact: a word alone decides nothing. The town is
that of the first sentence. Some topics are much rarer than others.

Like `distill.data.synthetic.atlas` it is for trying the pipeline, not for ranking methods, and gives the same bytes
everywhere.
"""

from __future__ import annotations

from random import Random

from distill.data.synthetic.relations import FILLERS, RELATIONS, TOWNS, VALUES
from distill.errors import UserError

#: Topic → the relations whose facts are about it; all other relations belong to none.
TOPICS = {
    "people": ("mayor", "founder", "architect", "poet"),
    "water": ("river", "lake"),
    "traffic": ("railway_year", "bridge_year"),
    "culture": ("festival", "museum", "newspaper"),
    "trade": ("export", "market_day"),
    "food": ("dish",),
}
#: Most topics of a paragraph; rows with 0, 1, 2 … of them are equally many, give or take one.
MOST = 3
# How often a topic is drawn beside the others.
_WEIGHTS = {"people": 4, "water": 3, "traffic": 2, "culture": 3, "trade": 2, "food": 1}
# Facts of no topic and remarks in a paragraph: at least, at most.
_FURTHER = (1, 2)
#: Share of the paragraphs that also state a fact of a topic about another town, which is no topic of theirs.
ELSEWHERE = 0.4

Row = dict[str, str | list[str]]


def generate(text_train: int, text_validation: int, seed: int) -> dict[str, list[Row]]:
    """Generate both splits. No town of one split is named in the other.

    Args:
        text_train, text_validation: number of rows.
        seed: any integer; another seed gives other rows.

    Returns:
        split → rows with id, text and labels: names of topics, sorted, or none. No text occurs twice in a split.

    Raises:
        UserError: a number is below 1.
    """
    names = list(TOWNS)
    Random(f"{seed}/topics/towns").shuffle(names)
    cut = len(names) // 5
    towns = {"train": names[cut:], "validation": names[:cut]}
    corpus = {}
    for split, count in (("train", text_train), ("validation", text_validation)):
        if count < 1:
            raise UserError(f"params.yaml: atlas.text_{split} is {count}; give a whole number of at least 1")
        draw = Random(f"{seed}/topics/{split}")
        rows: dict[str, list[str]] = {}
        while len(rows) < count:
            topics = _drawn(draw, len(rows) % (MOST + 1))
            rows.setdefault(_paragraph(draw, towns[split], topics), sorted(topics))
        corpus[split] = [
            {"id": f"topics-{split}-{number:05d}", "text": text, "labels": topics}
            for number, (text, topics) in enumerate(rows.items())
        ]
    return corpus


def _drawn(draw: Random, count: int) -> list[str]:
    """Different topics, by weight."""
    left, topics = dict(_WEIGHTS), []
    for _ in range(count):
        (topic,) = draw.choices(list(left), list(left.values()))
        topics.append(topic)
        del left[topic]
    return topics


def _paragraph(draw: Random, towns: list[str], topics: list[str]) -> str:
    town = draw.choice(towns)
    of_topics = {name for names in TOPICS.values() for name in names}
    names = [draw.choice(TOPICS[topic]) for topic in topics]
    without = [relation.name for relation in RELATIONS if relation.name not in of_topics]
    further = draw.randint(*_FURTHER)
    # The first sentence names the town, so that at least one fact is needed.
    facts = max(1, draw.randint(0, further)) if not names else draw.randint(0, further)
    names += draw.sample(without, facts)
    draw.shuffle(names)
    sentences = [
        _fact(draw, towns, name, town if not number or draw.random() < 0.5 else "the town")
        for number, name in enumerate(names)
    ]
    if draw.random() < ELSEWHERE:
        other = draw.choice([name for topic, names in TOPICS.items() if topic not in topics for name in names])
        another = draw.choice([name for name in towns if name != town])
        sentences.insert(draw.randint(1, len(sentences)), _fact(draw, towns, other, another))
    for remark in draw.sample(FILLERS, further - facts):
        sentences.insert(draw.randint(1, len(sentences)), remark)
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)


def _fact(draw: Random, towns: list[str], name: str, subject: str) -> str:
    relation = next(relation for relation in RELATIONS if relation.name == name)
    value = draw.choice(towns if relation.kind == "town" else VALUES[relation.kind])
    return draw.choice(relation.statements).format(e=subject, v=value)
