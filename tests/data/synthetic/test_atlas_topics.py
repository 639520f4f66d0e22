"""The embedded corpus with several labels per text: its labels are true, and its bytes the same everywhere."""

import hashlib
import json
import re
from collections import Counter

import pytest

from distill.data.synthetic import atlas_topics, json_rows
from distill.data.synthetic.relations import RELATIONS, TOWNS
from distill.errors import UserError


@pytest.fixture(scope="module")
def corpus():
    return atlas_topics.generate(400, 120, 7)


def stated(sentence: str) -> tuple[str | None, str | None]:
    """The topic of a fact and whom it is about, found by its wording; None and None for a remark."""
    for relation in RELATIONS:
        for statement in relation.statements:
            pattern = re.escape(statement).replace(r"\{e\}", "(?P<town>.+?)").replace(r"\{v\}", ".+?")
            if found := re.fullmatch(pattern, sentence, re.IGNORECASE):
                topics = [name for name, relations in atlas_topics.TOPICS.items() if relation.name in relations]
                return topics[0] if topics else None, found["town"].lower()
    return None, None


def test_labels_are_the_topics_of_the_facts_about_the_town_of_the_first_sentence(corpus):
    others = 0
    for row in corpus["validation"]:
        facts = [stated(f"{sentence}.") for sentence in row["text"].removesuffix(".").split(". ")]
        town = facts[0][1]
        found = {topic for topic, about in facts if topic and about in (town, "the town")}
        others += any(topic and about not in (town, "the town") for topic, about in facts)
        assert town and set(row["labels"]) == found, row
        assert len(row["labels"]) == len(set(row["labels"])) and row["labels"] == sorted(row["labels"])
    assert 0.25 < others / len(corpus["validation"]) < 0.55


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
    paths = json_rows.write(corpus, tmp_path, "topics")
    assert [path.name for path in paths] == ["train.jsonl", "validation.jsonl"]
    assert json.loads(paths[1].read_text().splitlines()[0]).keys() == {"id", "text", "labels"}
    assert hashlib.md5(paths[0].read_bytes()).hexdigest() == "85d782d85f633f92d926a7d6d144ad30"
    assert atlas_topics.generate(5, 5, 8) != atlas_topics.generate(5, 5, 7)


def test_no_rows_are_refused():
    with pytest.raises(UserError, match="atlas.text_validation is 0"):
        atlas_topics.generate(1, 0, 7)
