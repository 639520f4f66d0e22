"""Answers as texts or spans with probabilities: where they stand in the context, and how much is no answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import UserError
from distill.signals.predictions.answers import read_answers
from tests.helpers.stored import record

CONTEXT = "The Limmat flows through Zürich. Zürich lies on the Limmat; 12 of 112 bridges cross the Limmat."


def read(*answers):
    return read_answers(record({"answers": list(answers)}), CONTEXT)[0]


def spans(found):
    return [
        (CONTEXT[start:end], int(start), pytest.approx(mass))
        for start, end, mass in zip(found.start, found.end, found.mass, strict=True)
    ]


def refused(values, *parts):
    with pytest.raises(UserError) as error:
        read_answers(record(values), CONTEXT)
    line = str(error.value)
    assert line.startswith("x.jsonl: line 7, ") and "\n" not in line and all(part in line for part in parts), line


def test_a_span_stands_where_it_says_and_no_answer_is_a_share_of_its_own():
    found = read({"text": "Zürich", "start": 33, "probability": 0.75}, {"text": "", "probability": 0.25})
    assert spans(found) == [("Zürich", 33, 0.75)] and found.none == pytest.approx(0.25) and found.lost == 0


def test_a_text_alone_stands_for_all_its_places_evenly():
    found = read({"text": "Limmat", "probability": 1.0})
    assert spans(found) == [("Limmat", place, 1 / 3) for place in (4, 52, 88)]


def test_whole_words_come_before_parts_of_others():
    assert spans(read({"text": "12", "probability": 1.0})) == [("12", 60, 1.0)]
    assert spans(read({"text": "ridge", "probability": 1})) == [("ridge", 71, 1.0)]


def test_space_around_an_answer_is_none_of_it():
    assert spans(read({"text": " lies ", "start": 39, "probability": 1.0})) == [("lies", 40, 1.0)]
    assert read({"text": "  ", "probability": 1.0}).none == 1.0


def test_what_does_not_occur_is_left_out_and_the_others_count():
    found = read({"text": "Rhine", "probability": 0.5}, {"text": "Zürich", "start": 25, "probability": 0.5})
    assert spans(found) == [("Zürich", 25, 1.0)] and found.lost == pytest.approx(0.5)
    assert read({"text": "Rhine", "probability": 1.0}) is None


@pytest.mark.parametrize(("values", "places"), [({"answer": "lies"}, 1), ({"answer": ""}, 0)])
def test_a_single_answer_needs_no_list(values, places):
    found, form = read_answers(record(values), CONTEXT)
    assert len(found.mass) == places and found.none == 1 - places and form == "answer"


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"answers": [{"text": "Zürich", "start": 3, "probability": 1}]}, ["answers[0].start: is 3", "occurs at 25"]),
        ({"answers": [{"text": "Zürich", "start": -7, "probability": 1}]}, ["is -7"]),
        ({"answers": [{"text": "Rhine", "start": 3, "probability": 1}]}, ["does not occur in the context"]),
        ({"answers": [{"text": "Zürich", "start": 25.5, "probability": 1}]}, ["is 25.5"]),
        ({"answers": [{"text": "Zürich"}]}, ["answers[0].probability: is missing"]),
        ({"answers": [{"text": "Zürich", "probability": 0.5}]}, ["answers: add up to 0.5"]),
        ({"answers": [{"text": 7, "probability": 1}]}, ["answers[0].text: is 7"]),
        ({"answers": [{"probability": 1}]}, ["answers[0].text: is null"]),
        ({"answers": []}, ["answers: is []"]),
        ({"answers": {"text": "Zürich"}}, ["must be a list"]),
        ({"answers": ["Zürich"]}, ["must be a list"]),
        ({"answer": 7}, ["answer.text: is 7"]),
        ({"text": "Zürich", "id": "7"}, ['no answers among "text", "id"']),
    ],
)
def test_what_is_wrong_is_one_line_with_row_field_value_and_fix(values, parts):
    refused(values, *parts)


VALUES = st.none() | st.booleans() | st.integers(-5, 120) | st.floats() | st.sampled_from(["", "Zürich", "Limmat", "x"])
ITEMS = st.dictionaries(st.sampled_from(["text", "start", "probability", "more"]), VALUES, max_size=4)


@given(st.lists(ITEMS | VALUES, max_size=3) | VALUES, st.booleans())
def test_wild_answers_are_read_or_refused_in_one_line(answers, alone):
    made = record({"answer" if alone else "answers": answers} if answers is not None else {})
    try:
        found, _ = read_answers(made, CONTEXT)
    except UserError as error:
        assert "\n" not in str(error) and str(error).startswith("x.jsonl: line 7")
    else:
        if found is not None:
            assert found.mass.sum() + found.none == pytest.approx(1)
            assert all(0 <= a < b <= len(CONTEXT) for a, b in zip(found.start, found.end, strict=True))
