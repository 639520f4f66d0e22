"""The embedded corpus with several labels per text: its labels are true, and its bytes the same everywhere."""

import hashlib
import json
from collections import Counter

import pytest

from distill.data.synthetic import atlas_topics
from distill.data.synthetic.relations import RELATIONS, TOWNS, VALUES
from distill.errors import UserError


@pytest.fixture(scope="module")
def corpus():
    return atlas_topics.generate(400, 120, 7)


def stated(text: str) -> set[str]:
    """The topics whose facts a text states, found by the wordings."""
    found = set()
    for relation in RELATIONS:
        topic = next((name for name, relations in atlas_topics.TOPICS.items() if relation.name in relations), None)
        for statement in relation.statements:
            pieces = [part for piece in statement.split("{e}") for part in piece.split("{v}")]
            for sentence in text.removesuffix(".").split(". "):
                rest, fits = sentence.lower(), True
                for piece in (part.removesuffix(".").lower() for part in pieces):
                    place = rest.find(piece)
                    fits, rest = fits and place >= 0, rest[place + len(piece) :]
                values = VALUES["town" if relation.kind == "town" else relation.kind]
                if fits and topic and any(value.lower() in sentence.lower() for value in values):
                    found.add(topic)
    return found


def test_labels_are_the_topics_of_the_facts(corpus):
    for row in corpus["validation"]:
        assert set(row["labels"]) <= stated(row["text"]), row
        assert len(row["labels"]) == len(set(row["labels"])) and row["labels"] == sorted(row["labels"])


def test_none_to_three_topics_are_equally_many_and_some_are_rare(corpus):
    counts = Counter(len(row["labels"]) for row in corpus["train"])
    assert counts == {number: 100 for number in range(4)}
    by_topic = Counter(name for row in corpus["train"] for name in row["labels"])
    assert set(by_topic) == set(atlas_topics.TOPICS) and by_topic["food"] < by_topic["people"] / 2


def test_no_text_occurs_twice_and_no_town_in_both_splits(corpus):
    towns = {}
    for split, rows in corpus.items():
        assert len({row["text"] for row in rows}) == len(rows) == len({row["id"] for row in rows})
        text = " ".join(row["text"] for row in rows)
        towns[split] = {town for town in TOWNS if town in text}
    assert towns["train"] and towns["validation"] and not towns["train"] & towns["validation"]


def test_the_bytes_are_the_same_everywhere(corpus, tmp_path):
    paths = atlas_topics.write(corpus, tmp_path)
    assert [path.name for path in paths] == ["train.jsonl", "validation.jsonl"]
    assert json.loads(paths[1].read_text().splitlines()[0]).keys() == {"id", "text", "labels"}
    assert hashlib.md5(paths[0].read_bytes()).hexdigest() == "fd152b90f5bf5325f74424d0eb1561b4"
    assert atlas_topics.generate(5, 5, 8) != atlas_topics.generate(5, 5, 7)


def test_no_rows_are_refused():
    with pytest.raises(UserError, match="atlas.text_validation is 0"):
        atlas_topics.generate(1, 0, 7)
