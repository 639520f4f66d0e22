"""Outputs by the classes' names, in any order and form; what is wrong with them is one line."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import UserError
from distill.signals.log_probabilities import FLOOR
from distill.signals.predictions.classes import read_classes, read_score
from tests.helpers.stored import CLASSES, record

P = {"good": 0.7, "bad": 0.1, "middling": 0.2}
IN_ORDER = [0.1, 0.2, 0.7]


def refused(values, *parts, read=lambda made: read_classes(made, CLASSES), textual=False):
    with pytest.raises(UserError) as error:
        read(record(values, textual))
    line = str(error.value)
    assert line.startswith("x.jsonl: line 7, ") and "\n" not in line and all(part in line for part in parts), line


@pytest.mark.parametrize(
    ("values", "textual"),
    [
        ({"probabilities": P}, False),
        ({f"probability:{name}": value for name, value in P.items()}, False),
        ({f"probability:{name}": str(value) for name, value in P.items()}, True),
        ({"probabilities": P, "label": "bad"}, False),  # a gold label may stand beside them
    ],
)
def test_probabilities_become_their_logarithms_in_the_datas_order(values, textual):
    found, form = read_classes(record(values, textual), CLASSES)
    assert found.dtype == np.float32 and form == "probabilities"
    assert found == pytest.approx([math.log(p) for p in IN_ORDER], rel=1e-6)


@pytest.mark.parametrize("wide", [False, True])
def test_logits_stay_as_they_are(wide):
    logits = {"middling": -2.5, "good": 8.0, "bad": 0.125}
    values = {f"logit:{name}": value for name, value in logits.items()} if wide else {"logits": logits}
    found, form = read_classes(record(values), CLASSES)
    assert found.tolist() == [0.125, -2.5, 8.0] and form == "logits"


@pytest.mark.parametrize(("confidence", "shares"), [(None, [0, 0, 1]), (0.8, [0.1, 0.1, 0.8]), (1 / 3, [1 / 3] * 3)])
def test_a_label_leaves_the_rest_to_the_others_evenly(confidence, shares):
    values = {"label": "good"} | ({} if confidence is None else {"confidence": confidence})
    found, _ = read_classes(record(values), CLASSES)
    assert found == pytest.approx(np.log(np.maximum(shares, FLOOR)), rel=1e-5)


def test_classes_of_other_types_than_text_are_named_as_parameters_name_them():
    found, _ = read_classes(record({"label": True, "confidence": 0.75}), ("false", "true"))
    assert np.exp(found) == pytest.approx([0.25, 0.75])
    found, _ = read_classes(record({"label": 1.0}), ("0", "1"))
    assert found.argmax() == 1


def test_what_adds_up_to_1_but_for_rounding_is_taken():
    found, _ = read_classes(record({"probabilities": {"bad": 0.33, "middling": 0.33, "good": 0.33}}), CLASSES)
    assert np.exp(found).sum() == pytest.approx(1)
    refused({"probabilities": {"bad": 0.32, "middling": 0.33, "good": 0.33}}, "add up to 0.98", "must add up to 1")


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"probabilities": P | {"great": 0.0}}, ['"great", which is no class', '"bad", "middling", "good"']),
        ({"probabilities": {"good": 0.9, "bad": 0.1}}, ['lacks class "middling"']),
        ({"probabilities": P | {"bad": None}}, ['lacks class "bad"']),
        ({"probabilities": {"good": 1.2, "bad": -0.1, "middling": -0.1}}, ["has -0.1", "are these logits?"]),
        ({"probabilities": P | {"bad": math.nan}}, ["probabilities.bad: is nan", "finite number"]),
        ({"probabilities": P | {"bad": True}}, ["probabilities.bad: is true", "must be a number"]),
        ({"probabilities": P | {"bad": "0.1"}}, ['is "0.1"', "must be a number"]),
        ({"probabilities": [0.1, 0.2, 0.7]}, ["is [0.1, 0.2, 0.7]", "by its name"]),
        ({"probabilities": P, "logits": P}, ["probabilities and logits: stand beside each other"]),
        ({"logits": dict.fromkeys(CLASSES, 10**400)}, ["is inf", "finite number"]),
        ({"logits": dict.fromkeys(CLASSES, 1e300)}, ["must fit into float32"]),
        ({"label": "great"}, ['label: is "great", which is no class']),
        ({"label": ["bad"]}, ['is ["bad"]']),
        ({"label": "good", "confidence": 1.5}, ["confidence: is 1.5", "from 1/3"]),
        ({"label": "good", "confidence": 0.1}, ["confidence: is 0.1"]),
        ({"probability:bad": 0.5, "probability:god": 0.5}, ['has "god", which is no class']),
        ({"score": 1.0, "id": "7"}, ['no outputs of the teacher among "score", "id"', "docs/teachers.md"]),
        ({}, ["among none"]),
    ],
)
def test_what_is_wrong_is_one_line_with_row_field_value_and_fix(values, parts):
    refused(values, *parts)


def test_a_score_is_a_finite_number():
    assert read_score(record({"score": 3}))[0].tolist() == [3.0]
    assert read_score(record({"score": "-0.5"}, textual=True))[0].tolist() == [-0.5]
    for value, part in [("3", 'is "3"'), (math.inf, "is inf"), (None, "is null"), (1e39, "float32"), (False, "false")]:
        refused({"score": value}, part, read=read_score)
    refused({"label": 3}, "score: is missing", read=read_score)
    refused({"score": "1_0"}, 'is "1_0"', read=read_score, textual=True)


WILD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*CLASSES, "x", ""]), inner, max_size=4)
    ),
    max_leaves=6,
)
COLUMNS = ["probabilities", "logits", "label", "confidence", "probability:bad", "logit:good", "score"]


@given(st.dictionaries(st.sampled_from(COLUMNS), WILD, max_size=4), st.booleans())
def test_wild_values_are_read_or_refused_in_one_line(values, textual):
    """Whatever is read is finite, and a distribution where it was given as one."""
    made = record({name: value for name, value in values.items() if value is not None}, textual)
    for read in (lambda item: read_classes(item, CLASSES), read_score):
        try:
            found, form = read(made)
        except UserError as error:
            assert "\n" not in str(error) and str(error).startswith("x.jsonl: line 7")
        else:
            assert np.isfinite(found).all() and found.dtype == np.float32
            if form in ("probabilities", "label"):
                assert np.exp(found.astype(float)).sum() == pytest.approx(1, abs=1e-5)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda values: sum(values) > 0.1))
def test_any_distribution_comes_back_up_to_the_floor(values):
    shares = np.array(values) / sum(values)
    found, _ = read_classes(record({"probabilities": dict(zip(CLASSES, shares.tolist(), strict=True))}), CLASSES)
    assert np.exp(found.astype(np.float64)) == pytest.approx(shares, abs=2 * FLOOR)
