"""Which group an example is in."""

import datasets
import numpy as np
import pandas as pd
import pytest

from distill.analysis import slices


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("What is it?", "what"),
        ("In what year did who win?", "what"),
        ("Whose house is it?", "who"),
        ("To whom was it sold?", "who"),
        ("how many are there", "how"),
        ("WHEN?", "when"),
        ("Name the whatnot somewhere.", "other"),
        ("", "other"),
    ],
)
def test_the_first_question_word_counts_wherever_it_stands(question, word):
    assert slices.question_word(question) == word


def test_numbers_up_to_edges_are_named_by_what_is_there():
    found = slices.up_to(np.array([1, 2, 3, 4, 9, np.nan, 12, 1]), (1, 2, 4, 8))
    assert list(found.categories) == ["1", "2", "3–4", "9–12"]
    assert found.codes.tolist() == [0, 1, 2, 2, 3, -1, 3, 0]


def test_quarters_are_about_equal_and_fewer_where_numbers_repeat():
    found = slices.quarters(np.arange(1, 101))
    assert list(found.categories) == ["1–25", "26–50", "51–75", "76–100"]
    assert pd.Series(found).value_counts().tolist() == [25] * 4
    assert list(slices.quarters(np.array([7, 7, 7])).categories) == ["7"]
    assert list(slices.quarters(np.array([1, 1, 1, 1, 9])).categories) == ["1", "9"]


def test_intervals_share_no_number():
    found = slices.between(np.array([0.0, 1.0, 1.5, 5.0]), np.array([0.0, 1.0, 5.0]))
    assert list(found.categories) == ["0–1", "1–5"] and found.codes.tolist() == [0, 0, 1, 1]
    assert list(slices.between(np.array([2.0, 2.0]), np.array([2.0])).categories) == ["2"]


def test_large_numbers_close_together_have_names_of_their_own():
    edges = np.array([1234561.0, 1234562.0, 1234564.0, 1234566.0])
    found = slices.between(np.array([1234561.0, 1234563.0, 1234566.0]), edges)
    assert list(found) == ["1234561.0–1234562.0", "1234562.0–1234564.0", "1234564.0–1234566.0"]


def questions(version_2=True):
    rows = {
        "question": ["What is old?", "Who lives there?", "Name it."],
        "context": ["The house is old.", "The house is old, and so on.", "It"],
        "answers": [{"text": ["The house", "house"]}, {"text": []}, {"text": ["It"]}],
    }
    return {part.name: part for part in slices.of("qa", datasets.Dataset.from_dict(rows), {"version_2": version_2})}


def test_questions():
    found = questions()
    assert {name: list(part.groups) for name, part in found.items()} == {
        "answerable": ["HasAns", "NoAns", "HasAns"],
        "question_word": ["what", "who", "other"],
        "answer_length": ["2", np.nan, "1"],
        "context_length": ["4", "7", "1"],
    }
    assert all("(words)" in found[name].title for name in ("answer_length", "context_length"))


def test_squad_1_has_no_slice_by_answerable():
    assert list(questions(version_2=False)) == ["question_word", "answer_length", "context_length"]


def test_classes_and_lengths_of_texts():
    rows = {"text": ["a b", "c"], "text_pair": ["d", None], "label": [1, 0]}
    found = slices.of("classification", datasets.Dataset.from_dict(rows), {"labels": ["bad", "good"]})
    assert [(part.name, list(part.groups)) for part in found] == [
        ("class", ["good", "bad"]),
        ("text_length", ["3", "1"]),
    ]


def test_thirds_of_the_gold_number():
    rows = {"text": ["a"] * 6, "text_pair": [None] * 6, "label": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]}
    gold = slices.of("regression", datasets.Dataset.from_dict(rows), {})[0]
    assert pd.Series(gold.groups).value_counts(sort=False).tolist() == [2, 2, 2]


def test_a_task_that_nobody_sliced_has_none():
    assert slices.of("something", None, {}) == []
