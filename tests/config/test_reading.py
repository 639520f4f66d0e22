"""Reading YAML 1.2: what DVC writes, and one line for what is wrong."""

import re

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from distill.config import reading
from distill.errors import UserError


def test_values_are_those_of_yaml_1_2():
    values = reading.parse("a: 1e-05\nb: no\nc: 1.0e-3\nd:\ne: [1, x]\n", "p.yaml")
    assert values == {"a": 1e-5, "b": "no", "c": 1e-3, "d": None, "e": [1, "x"]}
    assert type(values) is dict and type(values["c"]) is float


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", r"p\.yaml: line 2: not valid YAML: .*: correct that line"),
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


PLAIN = st.one_of(
    st.from_regex(r"[-+]?[0-9_.]{1,6}([eE][-+]?[0-9]{1,2})?", fullmatch=True),
    st.from_regex(r"[-+]?0[box]?[0-9a-fA-F_]{1,4}", fullmatch=True),
    st.from_regex(r"[-+]?\.?(inf|Inf|nan|NaN|NAN|INF)", fullmatch=True),
    st.sampled_from(["y", "Y", "yes", "no", "on", "off", "true", "True", "TRUE", "tRue", "false", "null", "Null", "~"]),
    st.sampled_from(["<<x", "=", "1:30", "1:30.5", "2024-01-02", "0o7", "010", "08", "1e5", "1.e5"]),
)
# What ruamel takes for a number and then cannot read, or reads although YAML 1.2 has no such number: words here.
ODD = re.compile(r"[-+]?(0[box])?_*|[-+]?_.*|[-+]?\._*.*|[-+]?0[box].*_.*|.*\._*[eE].*")


@given(PLAIN)
@example("1e-05")
@example("0o17")
@settings(max_examples=500, deadline=None)
def test_plain_words_are_what_dvc_takes_them_for(word):
    """DVC reads parameters with ruamel.yaml."""
    assume(not ODD.fullmatch(word))
    try:
        expected = YAML(typ="safe", pure=True).load(f"a: {word}\n")["a"]
    except (ValueError, YAMLError):
        assume(False)
    value = reading.parse(f"a: {word}\n", "p.yaml")["a"]
    assert type(value) is type(expected) and (value == expected or value != value != expected)


def test_files_of_the_project_read_as_dvc_reads_them(root):
    for path in [root / "params.yaml", *sorted((root / "presets").glob("*.yaml"))]:
        text = path.read_text()
        assert reading.parse(text, path) == YAML(typ="safe", pure=True).load(text), path


def test_anchors_and_merges_are_read():
    text = "a: &a {x: 1, y: [2, 3]}\nb: *a\nc: {<<: *a, x: 5}\n"
    assert reading.parse(text, "p.yaml") == YAML(typ="safe", pure=True).load(text)
    assert reading.parse(text, "p.yaml")["c"] == {"x": 5, "y": [2, 3]}


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, r"p\.yaml: line 5: not valid YAML: more than 100,000 values"),
        ("a: " + "[" * 100_000, r"p\.yaml: line 1: not valid YAML: more than 100 levels"),
        ("".join(f"{' ' * n}a:\n" for n in range(2000)), r"p\.yaml: line \d+: not valid YAML: more than 100 levels"),
        ("a: &a [*a]\n", r"p\.yaml: line 1: not valid YAML: \*a is inside of itself"),
        ("a: " + "9" * 5000, r"p\.yaml: not valid YAML: Exceeds the limit .* digits"),
        ("a: 2024-13-41\n", r"p\.yaml: not valid YAML: month must be in 1\.\.12"),
        ("seeds: [1]\nb: 2\nseeds: [2]\n", r"p\.yaml: line 3: not valid YAML: duplicate key 'seeds'"),
        ("a: {b: 1, b: 2}\n", r"p\.yaml: line 1: not valid YAML: duplicate key 'b'"),
        ("a: !!python/object/apply:os.system [x]\n", r"p\.yaml: line 1: not valid YAML"),
        ("? [1, 2]\n: 3\na: {? {b: 1} : 2}\n", r"p\.yaml: line \d: not valid YAML: found unhashable key"),
        ("a: \ud800\n", r"p\.yaml: not valid YAML"),
    ],
)
def test_hostile_files_are_refused_at_once(text, message):
    with pytest.raises(UserError, match=message) as error:
        reading.parse(text, "p.yaml")
    assert "\n" not in str(error.value)
