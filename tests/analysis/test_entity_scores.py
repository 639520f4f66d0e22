"""Scores of types of entities: seqeval's, means over seeds; and their tables in the report."""

from dataclasses import replace

import pytest
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2

from distill.analysis import entity_scores
from distill.report import entities, page
from tests.helpers import made_up
from tests.helpers.html_tables import Page

GOLD = [["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC", "O"], ["O", "O"]]
SAID = {
    "teacher": {None: GOLD},
    "kd": {
        1: [["B-PER", "O", "O", "B-LOC"], ["B-LOC", "B-ORG"], ["O", "O"]],
        2: [["B-PER", "I-PER", "O", "O"], ["O", "O"], ["B-PER", "O"]],
    },
}


@pytest.fixture(scope="module")
def found():
    return entity_scores.of(GOLD, SAID, "IOB2")


def test_each_type_has_seqevals_scores_the_most_frequent_first(found):
    assert [(part["type"], part["entities"]) for part in found["types"]] == [("LOC", 2), ("PER", 1), ("ORG", 0)]
    assert found["entities"] == 3
    seeds = [
        classification_report(GOLD, tags, mode="strict", scheme=IOB2, output_dict=True, zero_division=0)
        for tags in SAID["kd"].values()
    ]
    for part in found["types"]:
        assert part["scores"]["teacher"]["f1"] == (100 if part["entities"] else 0)
        for score, name in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            mean = sum(100 * seed.get(part["type"], {name: 0.0})[name] for seed in seeds) / 2
            assert part["scores"]["kd"][score] == pytest.approx(mean)


def test_the_report_shows_a_table_for_each_type(found):
    nothing = {name: {} for name in ("curves", "filters", "sweeps", "cost", "samples")}
    results = made_up.results("classification", methods=("ft", "kd"), **nothing)
    analysis = {name: part for name, part in results.analysis.items() if name != "classes"}
    results = replace(results, analysis=analysis | {"entities": found})
    captions = [table.caption for table in entities.each(results)]
    assert captions == ["LOC: 2 of 3 entities", "PER: 1 of 3 entities", "ORG: 0 of 3 entities"]
    html = page.html(results)
    assert 'id="section-entities"' in html and Page(html) and "PER: 1 of 3 entities" in html
    assert entities.each(replace(results, analysis=analysis)) == []
