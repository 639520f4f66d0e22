"""Drawings: the same bytes each time, labelled, in the page's colours, and labels that do not cover each other."""

import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from distill.report.svg import BLUE, ROLES, apart, draw

pytestmark = pytest.mark.drawn
SVG = "{http://www.w3.org/2000/svg}"


def paint(axes):
    axes.plot([0, 1], [0, 1], color=BLUE, label="a & <b> $x$")
    axes.set(xlabel="Updates", ylabel="Loss")
    axes.legend()


def test_the_same_drawing_has_the_same_bytes():
    assert draw("one", "One", "One", 200, paint) == draw("one", "One", "One", 200, paint)


def test_it_is_an_image_with_a_name_and_text_as_text():
    picture = draw("one", "One", 'says "a" < b', 200, paint)
    root = ET.fromstring(picture.svg)
    assert (root.tag, root.get("role"), root.get("aria-label")) == (f"{SVG}svg", "img", 'says "a" < b')
    texts = {"".join(node.itertext()).strip() for node in root.iter(f"{SVG}text")}
    assert {"Updates", "Loss", "a & <b> $x$"} <= texts


@pytest.mark.parametrize("name", [r"class \d", r"a\1", "C:\\temp", "\\g<0>"])
def test_a_backslash_in_a_name_is_a_backslash(name):
    assert ET.fromstring(draw("one", "One", name, 200, paint).svg).get("aria-label") == name


def test_colours_are_the_pages():
    svg = draw("one", "One", "One", 200, paint).svg
    assert "var(--blue, #0072b2)" in svg and "var(--ink, " in svg
    assert not [mark for mark, _ in ROLES.values() if mark in svg]


def test_nothing_of_this_day_or_elsewhere():
    svg = draw("one", "One", "One", 200, paint).svg
    assert "metadata" not in svg and "<style" not in svg and "dc:" not in svg and "font-family" not in svg
    assert "http" not in svg.replace("http://www.w3.org/", "")


def test_two_pictures_share_no_id():
    ids = [{n.get("id") for n in ET.fromstring(draw(x, x, x, 200, paint).svg).iter()} - {None} for x in ("one", "two")]
    assert ids[0] and not ids[0] & ids[1]


def test_every_reference_is_to_an_id_of_the_picture():
    root = ET.fromstring(draw("one", "One", "One", 200, paint).svg)
    ids = {node.get("id") for node in root.iter()}
    used = {node.get("{http://www.w3.org/1999/xlink}href") for node in root.iter()} - {None}
    clips = {node.get("clip-path") for node in root.iter()} - {None}
    assert {name.removeprefix("#") for name in used} <= ids
    assert {name.removeprefix("url(#").removesuffix(")") for name in clips} <= ids


def test_axes_without_a_label_are_refused():
    with pytest.raises(ValueError, match="label both axes"):
        draw("one", "One", "One", 200, lambda axes: axes.set(xlabel="Updates"))


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=25))
def test_labels_are_apart_and_in_order(wanted):
    places = apart(wanted, 2.0)
    order = np.argsort(wanted, kind="stable")
    assert all(b - a >= 2.0 - 1e-6 for a, b in pairwise(places[order]))


def test_labels_are_as_near_as_they_can_be():
    wanted = np.array([0.0, 0.1, 0.2, 5.0, 5.5, 20.0])
    gaps = {"type": "ineq", "fun": lambda places: np.diff(places) - 1}
    best = optimize.minimize(lambda places: ((places - wanted) ** 2).sum(), np.arange(6.0), constraints=gaps)
    assert apart(wanted, 1.0) == pytest.approx(best.x, abs=1e-3)
