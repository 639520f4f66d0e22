"""Rows of the data are found by id or text, never by their order, and never in a split that was not meant."""

import pytest

from distill.errors import UserError
from distill.signals.predictions.rows import Rows
from tests.helpers.stored import Data, record, texts


def rows(**splits):
    data = Data("classification", splits, strip_html=False)
    return Rows(data, data.meta["splits"])


@pytest.fixture(scope="module")
def carved():
    """Train and selection of one file; validation of another one, whose ids begin from 0 again."""
    every = texts(4)
    other = [row | {"text": f"other {row['id']}"} for row in texts(2)]
    return rows(train=[every[3], every[1]], selection=[every[0], every[2]], validation=other)


def refused(rows, values, *parts):
    with pytest.raises(UserError) as error:
        rows.of(record(values))
    line = str(error.value)
    assert line.startswith("x.jsonl: line 7, ") and "\n" not in line and all(part in line for part in parts), line


def test_an_id_is_looked_up_whatever_the_order(carved):
    assert carved.of(record({"id": "3"})) == [("train", 0)]
    assert carved.of(record({"id": 2})) == [("selection", 1)]
    assert carved.of(record({"id": "9"})) == []


def test_an_id_of_several_splits_needs_its_split_or_its_text(carved):
    refused(carved, {"id": "1"}, 'id "1": is one of train and validation', "say which in column split")
    assert carved.of(record({"id": "1", "split": "validation"})) == [("validation", 1)]
    assert carved.of(record({"id": "1", "text": "other 1"})) == [("validation", 1)]


def test_train_and_selection_are_carved_out_of_each_other(carved):
    """Under another seed a row of the one was one of the other."""
    assert carved.of(record({"id": "0", "split": "train"})) == [("selection", 0)]
    assert carved.of(record({"id": "1", "split": "selection"})) == [("train", 1)]
    apart = rows(train=texts(2), selection=[row | {"text": "x"} for row in texts(2)])
    assert apart.of(record({"id": "1", "split": "train"})) == [("train", 1)]
    assert apart.of(record({"id": "1", "split": "selection"})) == [("selection", 1)]


def test_a_text_is_found_wherever_it_stands(carved):
    assert carved.of(record({"text": " text 3 "})) == [("train", 0)]
    same = rows(train=[*texts(1), texts(1)[0] | {"id": "again"}], validation=texts(1))
    assert same.of(record({"text": "text 0"})) == [("train", 0), ("train", 1), ("validation", 0)]
    assert same.of(record({"text": "text 0", "split": "train"})) == [("train", 0), ("train", 1)]


def test_a_text_beside_an_id_must_be_its_own(carved):
    refused(carved, {"id": "3", "text": "else"}, 'has the text "else"', '"text 3"', "ids are those of other data")


def test_pairs_need_both_texts():
    pairs = rows(train=[row | {"text_pair": "b"} for row in texts(2)])
    assert pairs.of(record({"text": "text 1", "text_pair": "b"})) == [("train", 1)]
    refused(pairs, {"text": "text 1"}, "id: is missing", "by text and text_pair")


def test_tags_are_taken_out_as_stage_prepare_does():
    data = Data("classification", {"train": texts(1)}, strip_html=True)
    assert Rows(data, ["train"]).of(record({"text": "<b>text</b> 0"})) == []
    assert Rows(data, ["train"]).of(record({"text": "<br>text 0"})) == [("train", 0)]


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"label": "good"}, ['id: is missing, and so is the text, among "label"', "by id, or by text"]),
        ({}, ["among no columns"]),
        ({"id": 1.5}, ["id: is 1.5"]),
        ({"id": True}, ["id: is true"]),
        ({"id": ["1"]}, ['is ["1"]']),
        ({"text": 3}, ["text: is 3", "must be a string"]),
        ({"id": "3", "split": "dev"}, ['split: is "dev"', "the data has train, selection, validation"]),
        ({"id": "3", "split": ["train"]}, ['split: is ["train"]']),
    ],
)
def test_what_is_wrong_is_one_line_with_row_field_value_and_fix(carved, values, parts):
    refused(carved, values, *parts)
