"""What training has seen of the splits, in the report."""

from dataclasses import replace

from distill.report import overlap, page
from tests.helpers import made_up
from tests.helpers.html_tables import Page

FOUND = {
    "selection": {"compared": 2760, "part": 0.9094, "related": 0.9982},
    "validation": {"compared": 868, "part": 0.0, "related": 0.1601, "groups": 0.25},
    "news": {"compared": 0, "part": None, "related": None},
}


def with_overlap(found):
    results = made_up.results("classification")
    return replace(results, analysis={**results.analysis, "overlap": found})


def test_each_split_has_its_shares():
    html = Page(page.html(with_overlap(FOUND)))
    parts = {split: text for split, (text, _) in html.column("overlap", "Part of a training text").items()}
    assert parts == {"selection": "90.9", "validation": "0.0", "news": "–"}
    assert [text for text, _ in html.column("overlap", "Group in train").values()] == ["–", "25.0", "–"]


def test_questions_have_columns_of_their_own_and_older_data_has_no_table():
    table = overlap.table(with_overlap({"selection": {"paragraphs": 0.0, "questions": 0.0}}))
    assert [title for title, _ in table.columns] == ["Split", "Paragraph in train", "Question in train"]
    assert overlap.table(with_overlap({})) is None and overlap.table(made_up.results()) is None
    assert overlap.table(with_overlap({"validation": FOUND["news"]})) is None


def test_rows_that_were_left_out_of_a_transfer_set_are_shown_with_the_shares():
    found = {split: row | {"left_out": number} for number, (split, row) in enumerate(FOUND.items())}
    html = Page(page.html(with_overlap(found)))
    left = {split: text for split, (text, _) in html.column("overlap", "Left out of the transfer set").items()}
    assert left == {"selection": "0", "validation": "1", "news": "2"}
    assert "transfer" not in overlap.table(with_overlap(FOUND)).caption
