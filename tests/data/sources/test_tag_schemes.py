"""Schemes of tags: found by their tags, checked at every place, and equal to seqeval's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.scheme import auto_detect

from distill.data.sources import tag_schemes
from distill.tasks import entities


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("IOB2", "B-X I-X O B-X B-X B-Y"),
        ("IOB2", "B-X O B-Y"),
        ("IOB1", "I-X I-X B-X O I-Y I-X"),
        ("IO", "I-X I-X O I-Y"),
        ("IOBES", "B-X I-X E-X O S-Y"),
        ("BILOU", "B-X I-X L-X O U-Y"),
    ],
)
def test_a_scheme_is_known_by_its_tags(scheme, tags):
    assert tag_schemes.detect([tags.split()]) == scheme
    assert tag_schemes.fault(tags.split(), scheme) is None


@pytest.mark.parametrize(
    ("scheme", "tags", "place", "words"),
    [
        ("IOB2", "O I-X", 1, "goes on with an entity that nothing begins"),
        ("IOB2", "B-X I-Y", 1, "goes on with an entity that nothing begins"),
        ("IOB1", "I-X B-Y", 1, "IOB1 has I there"),
        ("IOBES", "B-X O", 0, "is the last of an entity, which ends with E"),
        ("IOBES", "O B-X", 1, "is the last of an entity, which ends with E"),
        ("IOBES", "B-X I-X S-Y", 1, "is the last of an entity, which ends with E"),
        ("IOBES", "E-X", 0, "goes on with an entity that nothing begins"),
        ("BILOU", "B-X U-Y", 0, "is the last of an entity, which ends with L"),
        ("IOB2", "B-X E-X", 1, "begins with E, which IOB2 does not have"),
        ("IO", "I-X B-X", 1, "begins with B, which IO does not have"),
    ],
)
def test_the_first_tag_that_a_scheme_does_not_allow_is_found(scheme, tags, place, words):
    at, problem = tag_schemes.fault(tags.split(), scheme)
    assert at == place and words in problem


def marked(scheme: str, spans: list[tuple[str, int, int]]) -> list[str]:
    """Tags of entities (type, words before, words), one after another."""
    tags: list[str] = []
    for kind, before, size in spans:
        tags += ["O"] * before
        inside = ["I"] * size
        if scheme in ("IOB2", "IOBES", "BILOU"):
            inside[0] = "B"
        if scheme == "IOB1" and tags and tags[-1][1:] == f"-{kind}":
            inside[0] = "B"
        if scheme in ("IOBES", "BILOU"):
            inside[-1] = {"IOBES": "SE", "BILOU": "UL"}[scheme][size > 1]
        tags += [f"{prefix}-{kind}" for prefix in inside]
    return [*tags, "O"]


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "IOBES", "BILOU"])
@given(spans=st.lists(st.tuples(st.sampled_from("XY"), st.integers(0, 2), st.integers(1, 3)), min_size=1, max_size=6))
def test_what_a_scheme_allows_is_what_seqeval_reads_back(scheme, spans):
    tags, place, expected = marked(scheme, spans), 0, []
    for kind, before, size in spans:
        expected.append(entities.Entity(kind, place + before, place + before + size))
        place += before + size
    assert tag_schemes.fault(tags, scheme) is None
    assert entities.find([tags], scheme) == [expected]


def test_the_scheme_is_seqevals_where_it_knows_one():
    texts = {"IOB2": ["B-X", "I-X", "O", "B-Y"], "IOBES": ["B-X", "I-X", "E-X", "S-Y", "O"]}
    texts["BILOU"] = ["B-X", "I-X", "L-X", "U-Y", "O"]
    for scheme, tags in texts.items():
        assert auto_detect([tags]) is entities.SCHEMES[tag_schemes.detect([tags])] is entities.SCHEMES[scheme]


def test_classes_are_all_prefixes_of_all_types():
    """So that a validation text may have a tag that no training text happens to have."""
    assert tag_schemes.classes([["B-Y", "I-Y", "O"], ["B-X"]]) == ("O", "B-X", "I-X", "B-Y", "I-Y")
    assert not any(
        tag_schemes.is_tag(tag)
        for tag in ("", "B", "B-", "X-PER", "o", "PER", "b-PER", "B-X-", "B--X", "B- X", "B-X\n")
    )
