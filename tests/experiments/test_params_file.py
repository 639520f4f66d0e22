"""Editing values in YAML text: what changes, what stays, how values are written."""

import datetime
import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.errors import UserError
from distill.experiments import params_file

TEXT = """\
# top
a:
  x: 1.0     # rate
  n:         # nothing yet
  l: [1, 2,
      3]     # list
  block:     # kept
  - 1
  # goes
  - 2        # goes
  # stays

  flow: {q: 1,  r: 'w'}   # map
  text: |
    one
    two
# end
z:   [ft, kd]
"""


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        (("a", "x"), 0.00005, "x: 1.0     # rate", "x: 5.0e-05  # rate"),
        (("a", "x"), "long enough to push", "x: 1.0     #", 'x: "long enough to push"  #'),
        (("a", "n"), None, "n:         # nothing", "n: null    # nothing"),
        (("a", "n"), [1], "n:         # nothing", "n: [1]     # nothing"),
        (("a", "l"), [4], "l: [1, 2,\n      3]     # list", "l: [4]     # list"),
        (("a", "flow", "q"), True, "{q: 1,  r: 'w'}   # map", "{q: true,  r: 'w'}   # map"),
        (("a", "flow"), {"q": 2}, "{q: 1,  r: 'w'}   # map", "{q: 2}            # map"),
        (("a", "text"), "x", "text: |\n    one\n    two\n", "text: x\n"),
        (("z",), [], "z:   [ft, kd]", "z:   []"),
        (
            ("a", "block"),
            {},
            "block:     # kept\n  - 1\n  # goes\n  - 2        # goes\n",
            "block: {}  # kept\n",
        ),
    ],
)
def test_replace_changes_the_value_and_nothing_else(path, value, old, new):
    assert old in TEXT
    assert params_file.replace(TEXT, {path: value}) == TEXT.replace(old, new)


def test_replace_takes_several_values_at_once():
    text = params_file.replace(TEXT, {("z",): ["ted"], ("a", "x"): 2, ("a", "flow", "r"): "v"})
    values = params_file.parse(text, "t")
    assert values["z"] == ["ted"]
    assert values["a"]["x"] == 2
    assert values["a"]["flow"] == {"q": 1, "r": "v"}
    assert values["a"]["block"] == [1, 2]


def test_replace_refuses_a_path_that_is_not_there():
    with pytest.raises(KeyError, match=r"a\.missing"):
        params_file.replace(TEXT, {("a", "missing"): 1})


@pytest.mark.parametrize("text", ["no", "Off", "null", "1e-5", "12ab", "", " x", "a: b", "2024-01-01"])
def test_text_that_looks_like_something_else_is_quoted(text):
    assert params_file.literal(text) == json.dumps(text)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(min_codepoint=32, max_codepoint=0x24F, exclude_categories=["Cc"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), inner),
    max_leaves=6,
)


@given(VALUES)
@settings(max_examples=100, deadline=None)
def test_literal_reads_back_in_both_yaml_versions(value):
    text = f"a: {params_file.literal(value)}"
    assert params_file.parse(text, "t") == {"a": value}
    assert yaml.safe_load(text) == {"a": value}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), datetime.date(2024, 1, 1)])
def test_literal_refuses_what_is_no_parameter(value):
    with pytest.raises(UserError, match="cannot be a parameter"):
        params_file.literal([value])


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
        params_file.parse(text, "p.yaml")
    assert "\n" not in str(error.value)
