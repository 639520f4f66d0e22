"""Pairs of original and changed texts in the report: which, what is marked, and how sure the models are."""

from dataclasses import replace

import pytest

from distill.report import changed, page
from tests.helpers import made_up
from tests.helpers.html_tables import Page


def shown(results):
    """The section's part of the page."""
    html = page.html(results)
    return html.partition('<section id="section-changed"')[2].partition("</section>")[0]


@pytest.mark.parametrize("task", made_up.MAIN)
def test_a_pair_has_both_texts_and_the_models_figures(task):
    section = shown(made_up.results(task, methods=("ft", "mate", "knn")))
    text = " ".join(Page(section).text.split())
    figures = {
        "qa": "labelled span 0.98 → 0.41; likeliest span 0.98 → 0.41",
        "classification": "positive 0.98 → 0.41",
        "regression": "score 4.90 → 2.05",
    }[task]
    half = {"qa": "labelled span 0.49", "classification": "positive 0.49", "regression": "score 2.45"}[task]
    assert text.count(f"teacher{figures}") == 2 * changed.SHOWN and text.count(f"student{half}") == 2 * changed.SHOWN
    assert "mate: changed by its generator (5 of 12)" in text and "knn: neighbours (5 of 12)" in text
    assert {"qa": "gold1867", "classification": "goldpositive", "regression": "gold3.40"}[task] in text
    assert section.count("<mark>good</mark>") == section.count("<mark>terrible</mark>") == changed.SHOWN
    assert "negative" not in text


def test_texts_are_escaped():
    section = shown(made_up.results("classification", methods=("ft", "mate", "tinybert")))
    assert made_up.SCRIPT not in section and "&lt;script&gt;document.title" in section


def test_what_is_not_known_is_not_shown():
    results = made_up.results("qa", methods=("ft", "mate"))
    (entry, *_) = results.samples["mate"]
    plain = {**entry["changed"][0], "student": {"likeliest span": 0.5}}
    del plain["teacher"]
    pair = changed.groups(replace(results, samples={"mate": [{**entry, "changed": [plain]}]}))[0].pairs[0]
    assert pair.figures == [("student", "likeliest span 0.49 → 0.50")]
    same = {**entry, "changed": [entry["original"]]}
    assert changed.groups(replace(results, samples={"mate": [same]})) == []
    assert "section-changed" not in page.html(replace(results, samples={}))


def test_words_that_differ_are_marked_in_both_texts():
    old, new = changed.compared("the new insomnia is a faithful remake", "sinister new insomnia a terrible old remake")
    marked, same = [text for text, differs in old if differs], [text for text, differs in old if not differs]
    assert (marked, same) == (["the", "is", "faithful"], ["new insomnia", "a", "remake"])
    assert new == [("sinister", True), ("new insomnia", False), ("a", False), ("terrible old", True), ("remake", False)]
    assert changed.compared("a b", "a b") == ([("a b", False)], [("a b", False)])
    assert changed.compared("", "a") == ([], [("a", True)])


@pytest.mark.parametrize(("gold", "shown"), [(["rude", "late"], "rude | late"), ([], "none")])
def test_of_several_labels_the_gold_ones_and_the_likely_ones_are_shown(gold, shown):
    before, after = (
        {"rude": 0.1, "late": 0.2, "mute": 0.4, "wrong": 0.45},
        {"rude": 0.3, "wrong": 0.75, "late": 0.1, "mute": 0.5},
    )
    entry = {"source": "generator", "gold": gold, "original": {"text": {"text": "a b"}, "student": before}}
    entry |= {"changed": [{"text": {"text": "a c"}, "student": after}]}
    results = replace(made_up.results("classification", methods=("ft", "mate")), samples={"mate": [entry]})
    pair = changed.groups(results)[0].pairs[0]
    figures = ["rude 0.10 → 0.30", "late 0.20 → 0.10"] if gold else []
    assert pair.gold == shown and pair.figures == [("student", "; ".join([*figures, "wrong 0.45 → 0.75"]))]
