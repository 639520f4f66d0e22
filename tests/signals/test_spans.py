"""Mass on characters becomes mass on tokens: none is lost, and gold answers end where the labels have them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.data.features import question_features
from distill.signals.spans import Mass, inside_of, to_tokens
from tests.data.features.test_question_features import byte_level, corpus, row, wordpiece

__all__ = ["byte_level", "wordpiece"]  # fixtures

# [CLS] question [SEP] ab·cd efg [SEP]: two tokens, a gap of one character, two tokens.
STARTS, ENDS = np.array([-1, -1, -1, 4, 6, 9, 11, -1]), np.array([-1, -1, -1, 6, 8, 11, 14, -1])


def mass(*pairs):
    characters, values = zip(*pairs, strict=True)
    return Mass(np.array(characters), np.array(values, float))


def test_each_character_goes_to_the_token_that_covers_it():
    found = to_tokens(STARTS, ENDS, 0, mass((4, 0.5), (7, 0.25), (9, 0.25)), mass((6, 0.5), (14, 0.5)))
    assert found[:, 0].tolist() == [0, 0, 0, 0.5, 0.25, 0.25, 0, 0]
    assert found[:, 1].tolist() == [0, 0, 0, 0.5, 0, 0, 0.5, 0]


def test_what_lies_outside_goes_to_the_cls_token_as_no_answer_does():
    found = to_tokens(STARTS, ENDS, 0, mass((0, 0.2), (14, 0.1), (5, 0.4)), mass((4, 0.3), (15, 0.1), (5, 0.3)), 0.3)
    assert found[:, 0] == pytest.approx([0.6, 0, 0, 0.4, 0, 0, 0, 0])
    assert found[:, 1] == pytest.approx([0.7, 0, 0, 0.3, 0, 0, 0, 0])


def test_a_character_between_tokens_goes_to_the_nearest_as_labels_do():
    """Character 8 is covered by no token: a start there is the next token's, an end behind it the one before."""
    found = to_tokens(STARTS, ENDS, 0, mass((8, 1)), mass((9, 1)))
    assert found[5, 0] == 1 and found[4, 1] == 1


def test_a_window_without_a_context_has_the_cls_token_alone():
    none = np.full(3, -1)
    assert to_tokens(none, none, 2, mass((1, 0.5)), mass((2, 0.5)), 0.5).tolist() == [[0, 0], [0, 0], [1, 1]]
    assert inside_of(none, none, np.array([1]), np.array([2])).tolist() == [False]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.floats(0, 1)), min_size=1, max_size=9))
def test_no_mass_is_lost(answers):
    start, end = (mass(*((answer[side], answer[2]) for answer in answers)) for side in (0, 1))
    found = to_tokens(STARTS, ENDS, 0, start, end, 0.25)
    assert found.sum(0) == pytest.approx(start.mass.sum() + 0.25)
    assert (found >= 0).all()


@pytest.mark.parametrize(("kind", "length"), [("wordpiece", 30), ("byte_level", 60)])
def test_gold_answers_end_where_the_labels_have_them(kind, length, request):
    """Windows cut answers off; words are cut into pieces; characters beyond the first plane count as one."""
    rows = corpus(12)
    for i, words in enumerate(("Zürich 𝔘ber 東京 naïve", "tower 🙂🙂 of 🙂 stone", "the river  bank\u00a0of é")):
        context = " ".join([*["stone"] * (11 * i), words, *["lake"] * 9])
        rows += [row(f"u{i}-{k}", "where?", context, word) for k, word in enumerate(words.split())]
    counts = {True: 0, False: 0}
    for batch in question_features.encode(rows, request.getfixturevalue(kind), length, 8):
        for window in batch.to_pylist():
            answers = rows[window["example_index"]]["answers"]
            if not answers["text"]:
                continue
            first = np.array(answers["answer_start"])
            last = first + len(answers["text"][0])
            offsets, cls = (np.array(window["offset_start"]), np.array(window["offset_end"])), window["cls_index"]
            within = bool(inside_of(*offsets, first, last)[0])
            labels = window["start_positions"], window["end_positions"]
            assert within == (labels != (cls, cls)), window
            counts[within] += 1
            if within:
                found = to_tokens(*offsets, cls, Mass(first, np.ones(1)), Mass(last, np.ones(1)))
                assert tuple(found.argmax(0)) == labels
    assert min(counts.values()) > 5
