"""Predictions of models for GLUE's test sets, as the leaderboard takes them: a zip with a .tsv for each test set."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.data.sources import hub, text_files
from distill.errors import UserError
from distill.inference.classify import classify
from distill.inference.glue_tasks import RANGE, File
from distill.inference.model import Model
from distill.runtime.progress import bar

#: The data set of the hub with GLUE's test sets.
HUB = "nyu-mll/glue"
# Rows that are classified at a time.
_PART = 4096
# What stands for a text without any character: a model cannot be asked about nothing, and every row needs an answer.
_NO_TEXT = "."


@dataclass(frozen=True)
class Inputs:
    """The rows of a test set.

    Attributes:
        index: each row's number, as the test set has it.
        texts: each row's text, with the second one or None.
        empty: number of rows of which a text is empty; "." stands there.
    """

    index: list[int]
    texts: list[tuple[str, str | None]]
    empty: int


def read_file(file: File, path: Path) -> Inputs:
    """The rows of a test file as GLUE distributes it.

    Raises:
        UserError: no such file, not GLUE's columns, or an index that is no whole number or stands twice.
    """
    return _read(file.columns, ("index", "id"), text_files.records(path, f"the path of {file.name}'s test file"), path)


def read_hub(file: File, revision: str | None = None) -> Inputs:
    """The same rows from the hub.

    Raises:
        UserError: the data set cannot be loaded.
    """
    place = hub.place(HUB, revision, file.split)
    with hub.opened(HUB, file.subset, revision) as split_of:
        columns = ["idx", *file.hub_columns]
        rows = ((f"row {i}", row) for i, row in enumerate(split_of(file.split).select_columns(columns)))
        return _read(file.hub_columns, ("idx",), rows, place)


def predictions(file: File, model: Model, test: Inputs) -> list[str]:
    """What a model says to each row, in the leaderboard's words.

    Classes go by the names that the model has for them; a number is clipped to `RANGE` and has three decimals.

    Raises:
        UserError: the model's task is another one, or its classes are not those of the test set.
    """
    names = class_names(file, model.settings.task, model.settings.labels)
    found: list[str] = []
    with bar(len(test.texts), file.name, unit="row") as progress:
        for start in range(0, len(test.texts), _PART):
            part = classify(model, test.texts[start : start + _PART])
            if file.classes:
                found += [names[row["label"]] for row in part]
            else:
                found += [f"{min(max(row['value'], RANGE[0]), RANGE[1]):.3f}" for row in part]
            progress.update(len(part))
    return found


def class_names(file: File, task: str, labels: Sequence[str]) -> dict[str, str]:
    """The prediction that stands for each of a model's classes; {} where the test set asks for a number.

    Args:
        task: the model's task. labels: names of its classes. Case, spaces, "-" and "_" do not count.

    Raises:
        UserError: another kind of task, or other classes.
    """
    wanted = "classification" if file.classes else "regression"
    if task != wanted:
        raise UserError(f"{file.name}: the model is one for {task}: name a model for {wanted}")
    known = {_plain(name): prediction for prediction, names in file.classes.items() for name in names}
    chosen = {label: known.get(_plain(label)) for label in labels if file.classes}
    if None in chosen.values() or len(set(chosen.values())) != len(file.classes):
        expected = " | ".join(", ".join(names) for names in zip(*file.classes.values(), strict=True))
        raise UserError(
            f"{file.name}: the model's classes are {', '.join(labels)}, not {expected}: name a model that was trained"
            " on this task, or set id2label in its config.json"
        )
    return chosen


def placeholder(file: File) -> list[tuple[int, str]]:
    """A constant prediction for every row of a test set that there is no model for."""
    constant = next(iter(file.classes), f"{RANGE[0]:.3f}")
    return [(i, constant) for i in range(file.rows)]


def write_zip(path: Path, files: Mapping[str, Iterable[tuple[int, str]]]) -> None:
    """Writes the zip: the same predictions give the same bytes. The file appears once all is written.

    Args:
        path: the zip.
        files: name of each file, without .tsv → (index, prediction) of its rows.
    """
    draft = path.with_name(f".{path.name}.new")
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, rows in files.items():
            lines = ["index\tprediction", *(f"{index}\t{prediction}" for index, prediction in rows)]
            entry = zipfile.ZipInfo(f"{name}.tsv")  # of 1980: the time of day is no part of a submission
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, "\n".join(lines) + "\n")
    draft.replace(path)


def _read(
    columns: Sequence[str], numbers: Sequence[str], rows: Iterable[text_files.Record], place: Path | str
) -> Inputs:
    index: list[int] = []
    texts: list[tuple[str, str | None]] = []
    empty = 0
    for at, row in rows:
        number = next((name for name in numbers if name in row), None)
        if missing := [name for name in columns if name not in row] or ([] if number else [numbers[0]]):
            raise UserError(
                f"{place}: has no column {missing[0]!r} among {', '.join(map(str, row))}: name the test file as GLUE"
                " distributes it"
            )
        index.append(_number(row[number], place, at))
        values = [str(row[name]).strip() for name in columns]
        empty += not all(values)
        first, second = (*(value or _NO_TEXT for value in values), None)[:2]
        texts.append((first, second))
    if len(set(index)) != len(index):
        twice = Counter(index).most_common(1)[0][0]
        raise UserError(f"{place}: index {twice} stands twice: name the test file as GLUE distributes it")
    return Inputs(index, texts, empty)


def _number(value: Any, place: Path | str, at: str) -> int:
    text = str(value)
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise UserError(f"{place}: {at}: index is {text[:60]!r}: name the test file as GLUE distributes it")
    return int(text)


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character not in " -_")
