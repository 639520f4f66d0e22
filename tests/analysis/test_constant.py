"""Models that answer all alike, and the one answer that is right most often."""

import datasets
import pytest

from distill.analysis import constant


def test_the_same_answer_from_every_seed():
    answers = {
        "teacher": {None: ["neg"] * 5},
        "ft": {1: ["neg"] * 5, 2: ["neg", "neg", "pos", "neg", "neg"]},  # one seed answers otherwise once
        "kd": {1: ["pos"] * 5, 2: ["neg"] * 5},  # each seed alike, but not all
        "ted": {1: ["", ""], 2: ["", ""]},
        "short": {1: ["pos"]},
    }
    assert constant.models(answers) == {"teacher": "neg", "ted": ""}


def test_numbers_that_are_all_the_same():
    assert constant.models({"teacher": {None: [2.5, 2.5]}, "kd": {1: [2.5, 2.4]}}) == {"teacher": "2.5"}


@pytest.mark.parametrize(
    ("task", "column", "expected"),
    [
        ("classification", {"label": [1, 1, 0, -100, 1]}, {"answer": "pos", "share": 75.0}),
        ("classification", {"label": [1, 0]}, {"answer": "neg", "share": 50.0}),  # of equals the first class
        ("qa", {"answers": [{"text": []}, {"text": ["a"]}, {"text": []}, {"text": []}]}, {"answer": "", "share": 75.0}),
        ("qa", {"answers": [{"text": ["b"]}, {"text": ["a"]}]}, None),
        ("regression", {"label": [0.5, 0.5]}, None),
    ],
)
def test_the_answer_that_is_right_most_often(task, column, expected):
    assert constant.commonest(task, datasets.Dataset.from_dict(column), ("neg", "pos")) == expected
