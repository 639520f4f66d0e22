"""Editing values in YAML text: what changes, what stays, how values are written."""

import datetime
import json

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.config import reading
from distill.config.values import flatten
from distill.errors import UserError
from distill.experiments import params_file, presets
from tests.helpers import micro

TEXT = """\
# top
z:            # trained
- ft
- kd
a:
  x: 1.0      # rate
  n:          # nothing yet
  block:      # stays
  - 1
  - 2
  flow: {q: 1, r: w}   # map

# before b
b:
  only: 1

# end
"""


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        (("a", "x"), 0.00005, "x: 1.0      # rate", "x: 5.0e-05  # rate"),
        (("a", "x"), "long enough to push", "x: 1.0      #", "x: long enough to push #"),
        (("a", "x"), None, "x: 1.0      #", "x:          #"),
        (("a", "n"), [1], "n:          # nothing yet\n", "n:          # nothing yet\n  - 1\n"),
        (("a", "flow", "q"), True, "{q: 1, r: w}   # map", "{q: true, r: w} # map"),
        (("a", "flow", "s"), 2, "{q: 1, r: w}   # map", "{q: 1, s: 2, r: w} # map"),
        (("z",), [], "z:            # trained\n- ft\n- kd\n", "z: []         # trained\n"),
        (("a", "block"), {}, "block:      # stays\n  - 1\n  - 2\n", "block: {}   # stays\n"),
        (("a", "new"), 3, "  flow:", "  new: 3\n  flow:"),
        (("b", "only"), 2, "only: 1", "only: 2"),
        (("b", "new"), [1], "  only: 1", "  new:\n  - 1\n  only: 1"),
    ],
)
def test_replace_changes_the_value_and_no_other_line(path, value, old, new):
    assert old in TEXT
    assert params_file.replace(TEXT, {path: value}) == TEXT.replace(old, new)


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        (("a", "x"), "  x: 1.0      # rate\n", ""),
        (("a", "flow"), "  flow: {q: 1, r: w}   # map\n", ""),
        (("a", "flow", "q"), "{q: 1, r: w}   # map", "{r: w}         # map"),
    ],
)
def test_what_is_taken_out_leaves_the_comments_after_it(path, old, new):
    text = TEXT.replace("  block:      # stays\n  - 1\n  - 2\n", "")  # the item before is no list
    assert old in text
    assert params_file.replace(text, {}, [path]) == text.replace(old, new)


def test_replace_takes_several_values_at_once():
    text = params_file.replace(TEXT, {("z",): ["ted"], ("a", "x"): 2, ("a", "flow", "r"): "v", ("c",): {"d": 1}})
    values = reading.parse(text, "t")
    assert values["z"] == ["ted"]
    assert values["a"]["x"] == 2
    assert values["a"]["flow"] == {"q": 1, "r": "v"}
    assert values["a"]["block"] == [1, 2] and values["c"] == {"d": 1}


@pytest.mark.parametrize(("values", "removed"), [({("a", "missing", "x"): 1}, []), ({}, [("a", "missing")])])
def test_replace_refuses_a_path_that_is_not_there(values, removed):
    with pytest.raises(KeyError, match=r"a\.missing"):
        params_file.replace(TEXT, values, removed)


# A preset of each task, and as exhaustive tests all others.
FEW = ("squad_v2-deberta_v3", "sst2-minilm-6to3", "stsb-minilm-6to3")
FEW += ("embedded-topics", "embedded-entities", "embedded-passages")
OTHERS = [pytest.param(name, marks=pytest.mark.exhaustive) for name in presets.names() if name not in FEW]


@pytest.mark.parametrize("name", ["", *FEW, *OTHERS])
def test_dvc_changes_the_one_line_of_an_override(name, tmp_path):
    """Also after a preset: what `make preset` writes is what DVC writes."""
    before = micro.shipped(name)
    path = tmp_path / "params.yaml"
    path.write_text(before, encoding="utf-8")
    apply_overrides(path, ["ted.mse_alpha=123"])
    after = path.read_text(encoding="utf-8")
    different = [(old, new) for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new]
    assert len(different) == 1 and different[0][1] == "  mse_alpha: 123"


@pytest.mark.parametrize("name", presets.names())
def test_no_comment_is_lost_with_a_preset(name):
    text, merged = micro.shipped(), micro.shipped(name)

    def comments(content):
        return [line.partition("#")[2] for line in content.splitlines() if "#" in line]

    gone = [part for part in comments(text) if part not in comments(merged)]
    values = presets.changes(text, presets.load(name))
    assert len(gone) <= sum(change.new is presets.ABSENT for change in values)  # on the line of a value taken out


@pytest.mark.parametrize("override", ["pkd.layer_map=[1]", "seeds=[1,2]", "methods=[]", "cost.batch_sizes=[]"])
def test_dvc_keeps_every_comment_where_a_list_comes_or_changes(override, root, tmp_path):
    text = (root / "tests/params.yaml").read_text(encoding="utf-8")
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    apply_overrides(path, [override])
    after = path.read_text(encoding="utf-8")
    assert after.count("#") == text.count("#") and after.count("\n\n") == text.count("\n\n")
    name, value = override.split("=")
    changed = flatten(reading.parse(text, "before")) | {name: yaml.safe_load(value)}
    assert flatten(reading.parse(after, path)) == changed


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
    assert reading.parse(text, "t") == {"a": value}
    assert yaml.safe_load(text) == {"a": value}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), datetime.date(2024, 1, 1)])
def test_literal_refuses_what_is_no_parameter(value):
    with pytest.raises(UserError, match="cannot be a parameter"):
        params_file.literal([value])
