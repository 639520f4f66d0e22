"""JSON that Python reads, and everything else as one kind of error."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.runtime.json_text import JsonError, parse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_values_come_back(value):
    assert parse(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "problem", "place"),
    [
        ("", "malformed JSON, Expecting value", (1, 1)),
        ('{"a": 1,\n "b" 2}', "malformed JSON, Expecting ':' delimiter", (2, 6)),
        ("[" * 100_000, "brackets are nested too deep", (None, None)),
        ('{"a": ' * 100_000, "brackets are nested too deep", (None, None)),
        ('[1, {"a": -' + "9" * 5_000 + "}]", "has a number of more than 4,300 digits", (None, None)),
        ('[{"a": {"b": 1, "c": 2, "b": 1}}]', 'key "b" stands twice in one object', (None, None)),
        ('{"\\u0061": 1, "a": 2}', 'key "a" stands twice in one object', (None, None)),
    ],
)
def test_what_cannot_be_read_is_one_kind_of_error(text, problem, place):
    with pytest.raises(JsonError) as caught:
        parse(text)
    assert caught.value.problem == problem and (caught.value.line, caught.value.column) == place
    assert "\n" not in str(caught.value)


def test_a_key_of_any_length_and_of_many_is_shown_short():
    with pytest.raises(JsonError, match="^key .{1,70} stands twice"):
        parse("{" + ", ".join(f'"{i}": 0' for i in range(200_000)) + f', "{"k" * 5_000}": 1, "{"k" * 5_000}": 2}}')
