"""The embedded corpus: generated paragraphs about invented towns, asked about in SQuAD v2.0 form.

It is for trying the pipeline without any download, not for ranking methods. The same arguments give
the same bytes in every process: every draw comes from a `random.Random` seeded by a string.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

from distill.data.synthetic.relations import FILLERS, RELATIONS, TOWNS, VALUES, Relation
from distill.errors import UserError

PARAGRAPHS_PER_ARTICLE = 3
QUESTIONS_PER_PARAGRAPH = 4
QUESTIONS_PER_ARTICLE = PARAGRAPHS_PER_ARTICLE * QUESTIONS_PER_PARAGRAPH


def generate(
    train_questions: int,
    validation_questions: int,
    seed: int,
    unanswerable: float,
    other_town: float,
    held_out: float,
    facts: int,
    distractors: int,
) -> dict[str, dict]:
    """Generate both splits. An article is a town; no town of one split is named in the other.

    Args:
        train_questions: exact number of training questions.
        validation_questions: exact number of validation questions.
        seed: any integer; another seed gives other towns, facts and questions.
        unanswerable: share of the questions that their paragraph does not answer.
        other_town: share of the unanswerable questions that ask a stated relation, but of another
            town, and of the distractors that state a fact of another town.
        held_out: share of the validation questions worded as no training question is.
        facts: facts about the article's town in a paragraph.
        distractors: further sentences in a paragraph: filler, or a fact of another town.

    Returns:
        ``{"train": ..., "validation": ...}``, each a document in SQuAD v2.0's JSON format.

    Raises:
        UserError: a value is out of range, or the questions need more towns than there are names.
    """
    _check_shares(unanswerable=unanswerable, other_town=other_town, held_out=held_out)
    questions = {"train": train_questions, "validation": validation_questions}
    _check_range("train_questions", train_questions, 1, None)
    _check_range("validation_questions", validation_questions, 1, None)
    _check_range(
        "facts",
        facts,
        QUESTIONS_PER_PARAGRAPH,
        len(RELATIONS) - QUESTIONS_PER_PARAGRAPH,
    )
    _check_range("distractors", distractors, 0, len(FILLERS))
    articles = {split: -(-count // QUESTIONS_PER_ARTICLE) for split, count in questions.items()}
    if 2 * sum(articles.values()) + 4 > len(TOWNS):
        raise UserError(
            f"params.yaml: atlas.train_questions + atlas.validation_questions is "
            f"{sum(questions.values())}, too many for the {len(TOWNS)} town names; "
            f"stay below {(len(TOWNS) // 2 - 4) * QUESTIONS_PER_ARTICLE}"
        )
    names = list(TOWNS)
    Random(f"{seed}/towns").shuffle(names)
    # Validation takes its names from the front, so that more training questions change none of it.
    cut = 2 * articles["validation"] + 2
    pools = {"train": names[cut:], "validation": names[:cut]}
    corpus = {}
    for split, pool in pools.items():
        recipe = _Recipe(
            unanswerable,
            other_town,
            held_out if split == "validation" else 0.0,
            facts,
            distractors,
        )
        data, remaining = [], questions[split]
        for number in range(articles[split]):
            draw = Random(f"{seed}/{split}/{number}")
            count = min(QUESTIONS_PER_ARTICLE, remaining)
            article = _Article(pool[number], pool, recipe, draw)
            data.append(article.write(f"atlas-{split}-{number:05d}", count))
            remaining -= count
        corpus[split] = {"version": "v2.0", "data": data}
    return corpus


def write(corpus: dict[str, dict], folder: Path) -> list[Path]:
    """Write each split to ``<folder>/<split>.json`` (UTF-8, one line) and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for split, document in corpus.items():
        path = folder / f"{split}.json"
        path.write_bytes((json.dumps(document, ensure_ascii=False) + "\n").encode())
        paths.append(path)
    return paths


def _check_shares(**shares: float) -> None:
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise UserError(f"params.yaml: atlas.{name} is {value}; give a share from 0 to 1")


def _check_range(name: str, value: int, low: int, high: int | None) -> None:
    if value < low or (high is not None and value > high):
        allowed = f"at least {low}" if high is None else f"from {low} to {high}"
        raise UserError(f"params.yaml: atlas.{name} is {value}; give a whole number {allowed}")


@dataclass(frozen=True)
class _Recipe:
    """Settings of a split's paragraphs and questions; the fields are arguments of `generate`."""

    unanswerable: float
    other_town: float
    held_out: float
    facts: int
    distractors: int


class _Article:
    """One town. Its values are drawn once, so that its paragraphs never contradict each other."""

    def __init__(self, town: str, pool: list[str], recipe: _Recipe, draw: Random):
        self.town, self.pool, self.recipe, self.draw = town, pool, recipe, draw
        self.values: dict[str, str] = {}
        for relation in RELATIONS:
            self.values[relation.name] = self._new_value(relation)

    def write(self, prefix: str, questions: int) -> dict:
        """Return the article in SQuAD's format; `prefix` begins each question's id."""
        paragraphs = []
        for start in range(0, questions, QUESTIONS_PER_PARAGRAPH):
            count = min(QUESTIONS_PER_PARAGRAPH, questions - start)
            paragraphs.append(self._paragraph(f"{prefix}-{len(paragraphs)}", count))
        return {"title": self.town, "paragraphs": paragraphs}

    def _paragraph(self, prefix: str, questions: int) -> dict:
        stated = self.draw.sample(RELATIONS, self.recipe.facts)
        sentences = [self._fact(relation, opening=not i) for i, relation in enumerate(stated)]
        for filler in self.draw.sample(FILLERS, self.recipe.distractors):
            of_another_town = self.draw.random() < self.recipe.other_town
            sentence = self._fact_of_another_town() if of_another_town else filler
            # Never before the first fact, which introduces the town by its name.
            sentences.insert(self.draw.randint(1, len(sentences)), (None, sentence, 0))
        starts, length = {}, 0
        for name, sentence, offset in sentences:
            if name is not None:
                starts[name] = length + offset
            length += len(sentence) + 1
        context = " ".join(sentence for _, sentence, _ in sentences)
        unstated = [relation for relation in RELATIONS if relation.name not in starts]
        qas = []
        for number, (present, absent) in enumerate(
            zip(
                self.draw.sample(stated, questions),
                self.draw.sample(unstated, questions),
                strict=True,
            )
        ):
            relation, town, answers = present, self.town, []
            if self.draw.random() >= self.recipe.unanswerable:
                start = starts[relation.name]
                # Cut from the context: a value that opens its sentence got a capital there.
                text = context[start : start + len(self.values[relation.name])]
                answers = [{"text": text, "answer_start": start}]
            elif self.draw.random() < self.recipe.other_town:
                town = self._town_outside(context)
            else:
                relation = absent
            qas.append(
                {
                    "id": f"{prefix}-{number}",
                    "question": self._question(relation, town),
                    "answers": answers,
                    "is_impossible": not answers,
                }
            )
        return {"context": context, "qas": qas}

    def _fact(self, relation: Relation, opening: bool) -> tuple[str, str, int]:
        """A statement about the town: relation name, sentence, offset of the value in it."""
        subject = self.town if opening or self.draw.random() < 0.5 else "the town"
        template = self.draw.choice(relation.statements)
        return relation.name, *_fill(template, subject, self.values[relation.name])

    def _fact_of_another_town(self) -> str:
        relation = self.draw.choice(RELATIONS)
        town = self._town_outside(" ".join([self.town, self.values["twin"]]))
        return _fill(self.draw.choice(relation.statements), town, self._new_value(relation))[0]

    def _new_value(self, relation: Relation) -> str:
        """A value that no relation of this town has yet, so that each answer has a single source."""
        values = self.pool if relation.kind == "town" else VALUES[relation.kind]
        value = self.draw.choice(values)
        while value == self.town or value in self.values.values():
            value = self.draw.choice(values)
        return value

    def _town_outside(self, text: str) -> str:
        town = self.draw.choice(self.pool)
        while town in text:
            town = self.draw.choice(self.pool)
        return town

    def _question(self, relation: Relation, town: str) -> str:
        unseen = self.draw.random() < self.recipe.held_out
        return self.draw.choice(relation.held_out if unseen else relation.questions).format(e=town)


def _fill(template: str, subject: str, value: str) -> tuple[str, int]:
    """Fill a statement: the sentence with a capital first letter, and the offset of the value."""
    before, after = template.split("{v}")
    before, after = before.format(e=subject), after.format(e=subject)
    sentence = before + value + after
    return sentence[0].upper() + sentence[1:], len(before)
