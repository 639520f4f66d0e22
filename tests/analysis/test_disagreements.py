"""Which examples are shown where models disagree, and in which order."""

import datasets
import numpy as np
import pandas as pd
import pytest

from distill.analysis import disagreements


def tables(**right):
    return {name: pd.DataFrame({"correct": rows}) for name, rows in right.items()}


def test_every_combination_is_counted_and_the_telling_kinds_come_first():
    given = tables(teacher=[1, 1, 1, 0, 1, 0, 0], ft=[1, 0, 1, 0, 0, 1, 0], ted=[1, 1, 0, 0, 0, 1, 1])
    counts, rows = disagreements.find(given, "ted", "ft")
    assert counts == [
        {"right": ["teacher", "ft", "ted"], "examples": 1},
        {"right": ["teacher", "ft"], "examples": 1},
        {"right": ["teacher", "ted"], "examples": 1},
        {"right": ["ft", "ted"], "examples": 1},
        {"right": ["teacher"], "examples": 1},
        {"right": ["ted"], "examples": 1},
        {"right": [], "examples": 1},
    ]
    # ft wrong and ted right; the reverse; the teacher alone; the rest. All right and all wrong: never.
    assert rows == [1, 6, 2, 4, 5]


def test_kinds_share_the_places_and_rows_are_spread():
    right = np.array([[1, 0, 1]] * 500 + [[1, 1, 0]] * 10 + [[1, 0, 0]] * 500).T
    _, rows = disagreements.find(tables(teacher=right[0], ft=right[1], ted=right[2]), "ted", "ft")
    kinds = [np.sum([low <= row < low + size for row in rows]) for low, size in ((0, 500), (500, 10), (510, 500))]
    assert kinds == [30, 10, 20] and len(set(rows)) == 60
    assert rows[0] == 0 and rows[29] == 499 and rows[:30] == sorted(rows[:30])


def test_without_ft_or_a_second_method_there_are_fewer_kinds():
    assert disagreements.find(tables(teacher=[1, 0, 1], ted=[0, 1, 1]), "ted", "ft")[1] == [0, 1]
    assert disagreements.find(tables(teacher=[1, 0, 1]), None, "ft") == (
        [{"right": ["teacher"], "examples": 2}, {"right": [], "examples": 1}],
        [],
    )


def numbers(**predicted):
    return {name: pd.DataFrame({"predicted": rows, "gold": [0.0, 0.0, 0.0, 0.0]}) for name, rows in predicted.items()}


def test_of_numbers_the_most_changed_errors_are_shown():
    given = numbers(teacher=[0.0] * 4, ft=[3.0, 1.0, -0.5, 1.0], ted=[1.0, -2.0, -1.0, 1.0])
    assert disagreements.find(given, "ted", "ft") == ([], [0, 1, 2])


@pytest.mark.parametrize("kind", ["question", "pair"])
def test_a_row_is_described_with_its_texts(kind):
    if kind == "question":
        rows = {"question": ["q", "r"], "context": ["c", "d"], "answers": [{"text": []}, {"text": ["d", "d"]}]}
        given, expected = tables(teacher=[0, 1], ft=[1, 0]), {"text": {"question": "r", "context": "d"}, "gold": ["d"]}
        right = ["teacher"]
    else:
        rows = {"text": ["a", "b"], "text_pair": [None, None]}
        given, expected = numbers(teacher=[0.0] * 4, ft=[0.0] * 4), {"text": {"text": "b"}, "gold": 0.0}
        right = []
    examples = datasets.Dataset.from_dict({"id": ["x", "y"], **rows})
    found = disagreements.describe([1], examples, given, {"teacher": ["1", "2"], "ft": ["3", "4"]})
    assert found == [{"id": "y", **expected, "answers": {"teacher": "2", "ft": "4"}, "right": right}]
