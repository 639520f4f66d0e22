"""Data sets through `datasets`: the rows that are there, whatever its cache holds."""

import json
import os
from pathlib import Path

import pytest

from distill.data.sources import hub
from distill.errors import UserError

CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: {file}
---
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """The cache of `datasets`, in the temporary folder."""
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def write(folder: Path, *texts: str, file: str = "train.jsonl", card: bool = True) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text("".join(json.dumps({"x": text}) + "\n" for text in texts))
    if card:
        (folder / "README.md").write_text(CARD.format(file=file))
    return str(folder)


def read(name: str, revision: str | None = None) -> list[str]:
    with hub.opened(name, None, revision) as split_of:
        return split_of("train")["x"][:]


def test_an_edited_folder_gives_its_new_rows(tmp_path, cache):
    name = write(tmp_path / "mine", "old", "older")
    assert read(name) == ["old", "older"]
    write(tmp_path / "mine", "new", "newer")
    assert read(name) == ["new", "newer"]
    assert not [path for path in cache.iterdir() if path.is_dir()], "a copy of a local folder was kept"


def test_another_folder_of_the_same_name_gives_its_own_rows(tmp_path):
    assert [read(write(tmp_path / parent / "mine", parent)) for parent in ("a", "b")] == [["a"], ["b"]]


def test_a_card_that_names_another_file(tmp_path):
    assert read(write(tmp_path / "mine", "one")) == ["one"]
    assert read(write(tmp_path / "mine", "two", file="other.jsonl")) == ["two"]


@pytest.mark.parametrize("card", [True, False])
def test_a_file_of_the_same_size_and_time(tmp_path, card):
    name = write(tmp_path / "mine", "one", card=card)
    times = os.stat(tmp_path / "mine" / "train.jsonl")
    assert read(name) == ["one"]
    write(tmp_path / "mine", "two", card=card)
    os.utime(tmp_path / "mine" / "train.jsonl", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert read(name) == ["two"]


def test_what_another_program_has_cached_of_a_folder_is_not_read(tmp_path):
    import datasets

    name = write(tmp_path / "mine", "old")
    datasets.load_dataset(name, split="train")
    write(tmp_path / "mine", "new")
    assert datasets.load_dataset(name, split="train")["x"][:] == ["old"]  # the fault that this module is for
    assert read(name) == ["new"]
    with pytest.raises(
        UserError, match="dataset mine, .* data.name: cannot be reached, .* a local folder of that name"
    ):
        read("mine")


def test_a_pinned_commit_is_that_commit_also_where_the_hub_cannot_be_reached(tmp_path, cache):
    import datasets

    datasets.load_dataset(write(tmp_path / "mine", "kept"), split="train")
    (version,) = (path for path in cache.glob("mine/default/0.0.0/*") if path.is_dir())
    version.rename(version.with_name("a" * 40))  # as if it came from the hub
    assert read("mine") == read("mine", "a" * 40) == read("mine", "main") == ["kept"]
    with pytest.raises(UserError, match=f"cannot be reached, .* has revision {'a' * 40}, not data.revision"):
        read("mine", "b" * 40)


def test_a_cache_that_cannot_be_written_is_named(tmp_path, cache):
    cache.write_text("a file in its place")
    with pytest.raises(UserError, match=f"{cache}: the cache of datasets: cannot be written .* HF_DATASETS_CACHE"):
        read(write(tmp_path / "mine", "one"))


def test_a_broken_file_is_named_by_its_cause(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.jsonl").write_text('{"x": ' + "[" * 100_000)
    with pytest.raises(UserError) as caught:
        read(str(tmp_path / "mine"))
    message = str(caught.value)
    assert "cannot be loaded (" in message and "JSON parse error" in message and "\n" not in message
