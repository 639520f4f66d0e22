"""Reading YAML 1.2: what DVC writes, and one line for what is wrong."""

import pytest

from distill.config import reading
from distill.errors import UserError


def test_values_are_those_of_yaml_1_2():
    values = reading.parse("a: 1e-05\nb: no\nc: 1.0e-3\nd:\ne: [1, x]\n", "p.yaml")
    assert values == {"a": 1e-5, "b": "no", "c": 1e-3, "d": None, "e": [1, "x"]}
    assert type(values) is dict and type(values["c"]) is float


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", r"p\.yaml: line 1: not valid YAML: .*: correct that line"),
        ("a: 1\na: 2\n", r"p\.yaml: line 2: not valid YAML: .*duplicate key"),
        ("- 1\n", r"p\.yaml: expected sections .*found a list"),
        ("# only a comment\n", r"p\.yaml: expected sections .*found nothing"),
        ("a: \x07\n", r"p\.yaml: not valid YAML"),
    ],
)
def test_parse_says_what_is_wrong_in_one_line(text, message):
    with pytest.raises(UserError, match=message) as error:
        reading.parse(text, "p.yaml")
    assert "\n" not in str(error.value)
