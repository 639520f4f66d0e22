"""Questions of the hub, or of a local folder in its layout: the same rows and the same errors as of files."""

from pathlib import Path

import pytest

from distill.data.sources import question_sets
from distill.errors import UserError
from tests.helpers.squad import check_line, document, hub_row, question, save

NAMES = {"train": "train", "validation": "validation"}


@pytest.fixture
def hub_folder(tmp_path, monkeypatch):
    """Writes a dataset that `load_dataset` opens by its path; datasets' cache stays in the temporary folder."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def write(train: list[dict], validation: list[dict], kind: str = "parquet") -> str:
        folder = tmp_path / "dataset"
        folder.mkdir()
        for split, rows in (("train", train), ("validation", validation)):
            table = datasets.Dataset.from_list(rows)
            if kind == "parquet":
                table.to_parquet(folder / f"{split}.parquet")
            else:
                table.to_json(folder / f"{split}.jsonl")
        return str(folder)

    return write


@pytest.mark.parametrize("kind", ["parquet", "json"])
def test_hub_gives_the_same_rows_as_files(tmp_path, hub_folder, kind):
    empty = {"text": [], "answer_start": []}
    name = hub_folder([hub_row("a"), hub_row("b", answers=empty)], [hub_row("c")], kind)
    train = save(tmp_path, document(question("a"), question("b", None, is_impossible=True)))
    validation = save(tmp_path, document(question("c")), "validation.json")
    rows = question_sets.load("hub", {}, name, None, None, NAMES, version_2=True)
    paths = {"train": Path(train), "validation": Path(validation)}
    assert rows == question_sets.load("files", paths, None, None, None, NAMES, version_2=True)
    assert rows["train"][0]["context"] is rows["train"][1]["context"]
    assert [row["id"] for row in question_sets.load_hub(name, None, None, "train", version_2=False)] == ["a"]


def test_hub_sets_without_titles_or_answers(hub_folder, capsys):
    rows = [hub_row("a", title=None), hub_row("b", title=" "), hub_row("c"), hub_row("d", answers=None)]
    loaded = question_sets.load_hub(hub_folder(rows, rows), None, None, "train", version_2=True)
    assert [(row["id"], row["title"]) for row in loaded] == [("a", ""), ("b", ""), ("c", "Zürich")]
    assert "dropped 1 questions whose answers are null" in capsys.readouterr().out


def test_hub_sets_without_the_column_of_titles(hub_folder):
    untitled = [{key: value for key, value in hub_row(id_).items() if key != "title"} for id_ in "ab"]
    rows = question_sets.load("hub", {}, hub_folder(untitled[:1], untitled[1:]), None, None, NAMES, version_2=True)
    assert [(row["id"], row["title"]) for part in rows.values() for row in part] == [("a", ""), ("b", "")]


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"answers": {"text": ["Limmat"], "answer_start": [20]}}, ("answer_start = 20", "set answer_start to 19")),
        ({"answers": {"text": ["Limmat"], "answer_start": []}}, ("1 texts but 0 offsets",)),
        ({"context": ""}, ("context", "blank")),
        ({"id": "a"}, ('id = "a"', "already used")),
    ],
)
def test_hub_rows_are_checked(hub_folder, change, parts):
    name = hub_folder([hub_row("a"), hub_row("b") | change], [hub_row("c")])
    with pytest.raises(UserError) as caught:
        question_sets.load_hub(name, None, None, "train", version_2=True)
    check_line(str(caught.value), f"dataset {name}, revision default, split train", *parts)


def test_hub_dataset_of_another_kind(hub_folder):
    name = hub_folder([{"sentence": "x", "label": 1}], [{"sentence": "y", "label": 0}])
    with pytest.raises(UserError) as caught:
        question_sets.load_hub(name, None, None, "train", version_2=True)
    check_line(str(caught.value), f"dataset {name}, revision default, split train", "columns", "'id' is missing")


def test_hub_without_network_or_cache(tmp_path, monkeypatch):
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as caught:
        question_sets.load_hub("nobody/squad_v9", None, "abc123", "train", version_2=True)
    place = "dataset nobody/squad_v9, revision abc123, split train"
    check_line(str(caught.value), place, "cannot be loaded", "data.revision", "network")
