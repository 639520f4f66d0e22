"""Which examples are resampled together."""

import datasets

from distill.analysis import example_groups


def of(task, **columns):
    groups = example_groups.of(task, datasets.Dataset.from_dict(columns))
    return None if groups is None else groups.tolist()


def test_questions_go_by_their_paragraph():
    assert of("qa", question=["1", "2", "3"], context=["a", "b", "a"]) == [0, 1, 0]


def test_texts_go_by_their_group_where_they_have_one():
    assert of("classification", text=["1", "2", "3"], group=["x", "y", "x"]) == [0, 1, 0]
    assert of("classification", text=["1", "2", "3"]) is None
    assert of("regression", text=["1", "2", "3"], context=["a", "b", "a"]) is None


def test_no_groups_where_all_are_alone_or_together():
    assert of("qa", context=["a", "b", "c"]) is None
    assert of("qa", context=["a", "a", "a"]) is None
