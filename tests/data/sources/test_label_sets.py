"""Several labels per text from files and from the hub: lists and texts alike, and every fault named with its place."""

import json
from pathlib import Path

import datasets
import pytest

from distill.data.sources.text_sets import Columns, load_files, load_hub
from distill.errors import UserError

COLUMNS = Columns("text", None, "labels", None, numeric=False, strip_html=False, separator="|")
SETS = [["rude", "late"], [], ["late"]]


def save(folder: Path, content: str, name: str = "train.jsonl") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def lines(*values, key: str = "labels") -> str:
    return "".join(json.dumps({"text": f"text {i}", key: value}) + "\n" for i, value in enumerate(values))


def load(path: Path, classes=None):
    rows, names = load_files({"train": path}, COLUMNS, classes)
    return [row["label"] for row in rows["train"]], names


def refused(path: Path, *parts: str, classes=None, others=None) -> None:
    with pytest.raises(UserError) as caught:
        load_files({"train": path, **(others or {})}, COLUMNS, classes)
    message = str(caught.value)
    assert "\n" not in message and all(part in message for part in parts), message


def test_lists_and_texts_give_the_same(tmp_path):
    expected = ([[0, 1], [], [0]], ("late", "rude"))
    assert load(save(tmp_path, lines(*SETS))) == expected
    assert load(save(tmp_path, lines("rude| late", " ", "late"), "texts.jsonl")) == expected
    assert load(save(tmp_path, "text\tlabels\nx\trude|late\ny\t\nz\tlate\n", "train.tsv")) == expected
    assert load(save(tmp_path, 'labels,text\n"rude|late",x\n,y\nlate,z\n', "train.csv")) == expected


def test_data_labels_gives_the_order_and_numbers_are_names(tmp_path):
    assert load(save(tmp_path, lines(*SETS)), ["rude", "mute", "late"]) == ([[0, 2], [], [2]], ("rude", "mute", "late"))
    assert load(save(tmp_path, lines([10, 2], [2]), "n.jsonl")) == ([[0, 1], [0]], ("2", "10"))


def test_null_is_a_row_without_a_label_and_is_left_out_aloud(tmp_path, capsys):
    assert load(save(tmp_path, lines(["a"], None, [], ["b", "a"])))[0] == [[0], [], [0, 1]]
    assert "dropped 1 rows without a label (null)" in capsys.readouterr().out


def test_the_transfer_set_has_no_labels(tmp_path):
    paths = {"train": save(tmp_path, lines(*SETS)), "transfer": save(tmp_path, lines(["new"]), "t.jsonl")}
    rows, names = load_files(paths, COLUMNS, None)
    assert [row["label"] for row in rows["transfer"]] == [None] and names == ("late", "rude")


def test_without_labelled_training_rows_the_selection_split_has_the_classes(tmp_path):
    paths = {"selection": save(tmp_path, lines(*SETS)), "transfer": save(tmp_path, lines(["new"]), "t.jsonl")}
    rows, names = load_files(paths, COLUMNS, None)
    assert names == ("late", "rude") and [row["label"] for row in rows["selection"]] == [[0, 1], [], [0]]


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ((["a", "b"], ["a", "b", "a"]), ("line 2", 'column "labels"', 'names class "a" twice')),
        ((["a", "b"], "['a', 'b']"), ("line 2", "a list that is a text", '"|" between them')),
        (([0, 1, 0], [1, 1, 0]), ("line 1", 'names class "0" twice', "name the classes that are true")),
        ((["a", "b"], ["a", None]), ("line 2", "with a class that is null", "leave it out")),
        ((["a", "b"], 3), ("line 2", "is 3", "give a list of classes", '"|"')),
        ((["a", "b"], ["a", " "]), ("line 2", "a class is a name")),
        ((["a", "b"], "a||b"), ("line 2", "a class is a name")),
        ((["a", "b"], {"a": 1}), ("line 2", "give a list")),
        ((["a"], []), ('has only one class, "a"', "two classes")),
        (([], []), ("has no class in any row",)),
        ((None, None), ("2 of 2 rows have no label",)),
    ],
)
def test_bad_labels_are_named(tmp_path, values, parts):
    path = save(tmp_path, lines(*values))
    refused(path, str(path), *parts)


def test_a_class_that_training_does_not_have_is_named(tmp_path):
    train, validation = save(tmp_path, lines(*SETS)), save(tmp_path, lines(["late"], ["mute", "late"]), "v.jsonl")
    refused(train, str(validation), "line 2", 'has class "mute"', 'the training data, which has "late", "rude"',
            others={"validation": validation})  # fmt: skip
    refused(train, "line 1", 'has class "rude"', "data.labels", classes=["late", "mute"])


def test_the_hubs_numbers_have_the_names_of_its_classes(tmp_path):
    names = ["admiration", "anger", "joy"]
    features = datasets.Features(
        {"text": datasets.Value("string"), "labels": datasets.Sequence(datasets.ClassLabel(names=names))}
    )
    rows = {"text": ["x", "y", "z"], "labels": [[2, 0], [], [1]]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "train.parquet")
    rows, found = load_hub(str(tmp_path), None, None, {"train": "train"}, COLUMNS, None)
    assert [row["label"] for row in rows["train"]] == [[0, 2], [], [1]] and found == tuple(names)
