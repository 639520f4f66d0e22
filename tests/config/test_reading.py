"""Reading YAML 1.2: what DVC writes, and one line for what is wrong."""

import pytest

from distill.config import reading
from distill.errors import UserError


def test_values_are_those_of_yaml_1_2():
    values = reading.parse("a: 1e-05\nb: no\nc: 1.0e-3\nd:\ne: [1, x]\n", "p.yaml")
    assert values == {"a": 1e-5, "b": "no", "c": 1e-3, "d": None, "e": [1, "x"]}
    assert type(values) is dict and type(values["c"]) is float


def test_anchors_and_merges_are_read():
    text = "a: &a {x: 1, y: [2, 3]}\nb: *a\nc: {<<: *a, x: 5}\n"
    a = {"x": 1, "y": [2, 3]}
    assert reading.parse(text, "p.yaml") == {"a": a, "b": a, "c": {"x": 5, "y": [2, 3]}}


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", r"p\.yaml: line 2: not valid YAML: .*: correct that line"),
        ("a: 1\na: 2\n", r"p\.yaml: line 2: not valid YAML: .*duplicate key"),
        ("- 1\n", r"p\.yaml: expected sections .*found a list"),
        ("# only a comment\n", r"p\.yaml: expected sections .*found nothing"),
        ("a: \x07\n", r"p\.yaml: not valid YAML"),
        (BOMB, r"p\.yaml: line 5: not valid YAML: more than 100,000 values"),
        ("a: " + "[" * 100_000, r"p\.yaml: line 1: not valid YAML: more than 100 levels"),
        ("".join(f"{' ' * n}a:\n" for n in range(2000)), r"p\.yaml: line \d+: not valid YAML: more than 100 levels"),
        ("a: &a [*a]\n", r"p\.yaml: line 1: not valid YAML: \*a is inside of itself"),
        ("a: " + "9" * 5000, r"p\.yaml: not valid YAML: Exceeds the limit .* digits"),
        ("a: 2024-13-41\n", r"p\.yaml: not valid YAML: month must be in 1\.\.12"),
        ("seeds: [1]\nb: 2\nseeds: [2]\n", r"p\.yaml: line 3: not valid YAML: found duplicate key .seeds.:"),
        ("a: {b: 1, b: 2}\n", r"p\.yaml: line 1: not valid YAML: found duplicate key .b.:"),
        ("a: !!python/object/apply:os.system [x]\n", r"p\.yaml: line 1: not valid YAML"),
        ("? [1, 2]\n: 3\na: {? {b: 1} : 2}\n", r"p\.yaml: line \d: not valid YAML: found unhashable key"),
        ("a: \ud800\n", r"p\.yaml: not valid YAML"),
    ],
)
def test_hostile_files_are_refused_at_once(text, message):
    with pytest.raises(UserError, match=message) as error:
        reading.parse(text, "p.yaml")
    assert "\n" not in str(error.value)
