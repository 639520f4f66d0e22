"""What stands for "no label", the order of classes, and their line in the report."""

import pytest

from distill.data.sources import labels


@pytest.mark.parametrize(
    ("names", "classes", "expected"),
    [
        ({"a", "b", "-"}, None, {"-", "-1"}),
        ({"a", "-"}, None, {"-1"}),
        ({"+", "-", "0"}, None, {"-1"}),
        ({"0", "1", "2", "-1"}, None, {"-", "-1"}),
        ({"0", "1", "-1"}, None, {"-"}),
        ({"-1", "1"}, None, {"-"}),
        ({"0", "1", "2", "4", "-1"}, None, {"-"}),
        ({"-2", "-1", "0", "1", "2"}, None, {"-"}),
        ({"0", "1"}, None, {"-", "-1"}),
        ({"-", "x", "y"}, ("-", "x", "y"), {"-1"}),
        ({"-1", "0", "1", "2"}, ("-1", "0", "1", "2"), {"-"}),
    ],
)
def test_a_value_means_no_label_only_where_it_can_be_no_class(names, classes, expected):
    assert labels.placeholders(names, classes) == expected


def test_classes_are_listed_in_order_with_their_rows():
    assert labels.describe(("good", 'b"d', "\x1b[31m"), [1200, 3]) == r'"good" 1,200, "b\"d" 3, "\u001b[31m" 0'


def test_of_many_classes_the_first_are_listed_and_the_others_summed_up():
    names = [f"c{i}" for i in range(10_000)]
    line = labels.describe(names, list(range(2, 10_002)))
    assert line.startswith('"c0" 2, "c1" 3, ') and line.endswith('"c19" 21, and 9,980 more of 22 to 10,001 each')
