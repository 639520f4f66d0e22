"""The embedded questions with passages: one answers, the others do not, and the same file every time."""

import re

import pytest

from distill.data.sources.passage_sets import load_files
from distill.data.sources.text_sets import Columns
from distill.data.synthetic import atlas_passages, json_rows
from distill.data.synthetic.atlas_passages import PASSAGES
from distill.data.synthetic.relations import RELATIONS, TOWNS
from distill.errors import UserError

ARGUMENTS = {"text_train": 800, "text_validation": 200, "seed": 7, "held_out": 0.5}
NAMED = re.compile("|".join(sorted(TOWNS, key=len, reverse=True)))


@pytest.fixture(scope="module")
def made():
    return atlas_passages.generate(**ARGUMENTS)


def asked(query):
    """(relation, town, whether the wording is one of validation alone)"""
    (town,) = NAMED.findall(query)
    wording = query.replace(town, "{e}")
    (relation,) = [r for r in RELATIONS if wording in (*r.questions, *r.held_out)]
    return relation, town, wording in relation.held_out


def states(passage, relation, town):
    """Whether a passage states a relation of a town."""
    patterns = [
        re.escape(statement).replace(r"\{e\}", f"({town}|the town)").replace(r"\{v\}", ".+?")
        for statement in relation.statements
    ]
    return town in passage and any(re.search(p, passage, re.IGNORECASE) for p in patterns)


def test_relevant_passages_state_what_is_asked_for_about_the_town_and_no_other_does(made):
    for groups in made.values():
        for group in groups:
            relation, town, _ = asked(group["query"])
            labels = [passage["label"] for passage in group["passages"]]
            assert len(labels) == PASSAGES and sum(labels) in (1, 2)
            assert [int(states(p["text"], relation, town)) for p in group["passages"]] == labels
    numbers = [sum(passage["label"] for passage in group["passages"]) for group in made["train"]]
    assert 0.1 < numbers.count(2) / len(numbers) < 0.4


def test_neither_the_town_nor_what_is_asked_for_decides_alone(made):
    for group in made["train"]:
        relation, town, _ = asked(group["query"])
        others = [passage["text"] for passage in group["passages"] if not passage["label"]]
        about = [town in text for text in others]
        assert 2 <= sum(about) <= PASSAGES - 3
        assert all(is_about or states(text, relation, NAMED.findall(text)[0]) for text, is_about in
                   zip(others, about, strict=True))  # fmt: skip


def test_splits_share_no_town_and_validation_has_wordings_of_its_own(made):
    named = [
        set(NAMED.findall(" ".join([group["query"], *(p["text"] for p in group["passages"])])))
        for split in made.values()
        for group in split
    ]
    count = len(made["train"])
    assert not set().union(*named[:count]) & set().union(*named[count:])
    unseen = [asked(group["query"])[2] for group in made["validation"]]
    assert not any(asked(group["query"])[2] for group in made["train"]) and 0.2 < sum(unseen) / len(unseen) < 0.8


def test_the_same_seed_gives_the_same_file_which_is_read_as_groups(made, tmp_path):
    paths = json_rows.write(made, tmp_path / "a", "passages")
    again = json_rows.write(atlas_passages.generate(**ARGUMENTS), tmp_path / "b", "passages")
    other = json_rows.write(atlas_passages.generate(**ARGUMENTS | {"seed": 8}), tmp_path / "c", "passages")
    first, second, third = ([path.read_bytes() for path in listed] for listed in (paths, again, other))
    assert first == second != third
    columns = Columns("query", "passage", "label", None, True, False)
    rows = load_files(dict(zip(("train", "validation"), paths, strict=True)), columns)
    assert {split: len(listed) for split, listed in rows.items()} == {"train": 800, "validation": 200}
    assert rows["train"][0]["id"] == "passages-train-00000/0"


def test_more_passages_than_towns_allow_are_refused():
    with pytest.raises(UserError, match="atlas.text_validation is 9000, more than the 7680 passages of all towns"):
        atlas_passages.generate(8, 9000, 7, 0.5)
