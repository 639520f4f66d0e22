"""Sources of labelled texts: the embedded corpus, the user's files, or the Hugging Face hub.

A row is `{"id": str, "text": str, "text_pair": str | None, "label": int | float}`: the class's number, or the value for
regression. All of it is checked before anything is written.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.data.sources import text_files
from distill.data.sources.squad_json import Row, fail, show

# A tag, not "a < b": a letter follows the bracket.
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")


@dataclass(frozen=True)
class Columns:
    """The columns to read, and how their values are read.

    Attributes:
        text, text_pair: names of the columns of the text and, for pairs, of the second text.
        label: name of the column of the class or the number.
        id: name of the column of ids; None: the id is the row's number, from 0.
        numeric: labels are numbers (regression), not classes.
        strip_html: replace tags by a space and decode entities.
    """

    text: str
    text_pair: str | None
    label: str
    id: str | None
    numeric: bool
    strip_html: bool

    @property
    def needed(self) -> list[str]:
        """The columns that must be there."""
        return [name for name in (self.text, self.text_pair, self.label, self.id) if name is not None]


def load_files(
    paths: Mapping[str, Path], columns: Columns, classes: Sequence[str] | None
) -> tuple[dict[str, list[Row]], tuple[str, ...]]:
    """Reads files of texts.

    Args:
        paths: file of each split, "train" among them.
        columns: columns to read.
        classes: names of the classes in order; None takes the training file's, sorted (as numbers, where all are).

    Returns:
        (rows by split in the order of `paths`, names of the classes; none for regression)

    Raises:
        UserError: anything wrong with a file, a class that training does not know, or the same file for two splits.
    """
    _check_different(paths)
    read = {
        split: _rows(text_files.records(path, f"data.{split}"), columns, str(path)) for split, path in paths.items()
    }
    return _numbered(read, {split: str(path) for split, path in paths.items()}, columns, classes)


def load_hub(
    name: str,
    subset: str | None,
    revision: str | None,
    splits: Mapping[str, str],
    columns: Columns,
    classes: Sequence[str] | None,
) -> tuple[dict[str, list[Row]], tuple[str, ...]]:
    """Reads splits of a dataset through `datasets.load_dataset`.

    Args:
        name: hub id ("nyu-mll/glue") or a local dataset folder.
        subset: the dataset's configuration ("sst2"), or None.
        revision: commit, tag or branch, or None.
        splits: name of each split on the hub, by its name here.
        columns, classes: as for `load_files`; None takes a ClassLabel's own names in their own order.

    Returns:
        As `load_files`.

    Raises:
        UserError: the dataset cannot be loaded, lacks a column or labels, or holds a bad value.
    """
    import datasets  # takes seconds to import, and only this source needs it

    read, places = {}, {}
    for split, hub_split in splits.items():
        place = places[split] = f"dataset {name}, revision {revision or 'default'}, split {hub_split}"
        try:
            dataset = datasets.load_dataset(name, subset, revision=revision, split=hub_split)
        except Exception as error:
            # A missing dataset, a bad revision and a dead network each raise another library's exception.
            reason = (str(error).splitlines() or [""])[0].rstrip(".")
            fix = f"check data.name, data.subset, data.revision, data.{split}_split and the network"
            fail(place, "data.name", f"cannot be loaded ({type(error).__name__}: {reason})", fix)
        _check_columns(dataset.column_names, columns, place)
        kind = dataset.features[columns.label]
        names = getattr(kind, "names", None)
        if names and not columns.numeric:
            if classes is None:
                classes = tuple(names)
            labels = dataset[columns.label]
            if hidden := sum(label is None or label < 0 for label in labels):
                fix = f"choose a split with labels: data.{split}_split"
                fail(place, f"column {show(columns.label)}", f"{hidden} of {len(labels)} rows have no label", fix)
        items = ((f"row {i}", item) for i, item in enumerate(dataset.select_columns(columns.needed)))
        if split == "train":
            items = _with_texts(items, columns, place)
        if names and not columns.numeric:
            items = ((at, item | {columns.label: names[item[columns.label]]}) for at, item in items)
        read[split] = _rows(items, columns, place)
        if not read[split]:
            fail(place, "rows", "there are none", "choose another split")
    return _numbered(read, places, columns, classes)


def shared_texts(known: Iterable[Row], rows: Iterable[Row]) -> int:
    """The number of `rows` whose text (both texts, for pairs) is also in `known`."""
    texts = {(row["text"], row["text_pair"]) for row in known}
    return sum((row["text"], row["text_pair"]) in texts for row in rows)


def _with_texts(items: Iterable[text_files.Record], columns: Columns, file: str) -> Iterator[text_files.Record]:
    """Drops training rows without a text and prints their number: datasets of the hub have some (QQP)."""
    empty = 0
    for at, item in items:
        texts = [item[name] for name in (columns.text, columns.text_pair) if name is not None]
        if all(not isinstance(text, str) or cleaned(text, columns.strip_html) for text in texts):
            yield at, item
        else:
            empty += 1
    if empty:
        print(f"  dropped {empty:,} rows without a text: {file}", flush=True)


def _rows(items: Iterable[text_files.Record], columns: Columns, file: str) -> list[Row]:
    """Rows whose label is still the class's name; "at" is the row's place in the file."""
    rows: list[Row] = []
    seen: dict[str, str] = {}
    checked = None
    for number, (at, item) in enumerate(items):
        # Tables have the same keys in every row: one look is enough. JSON lines may differ.
        if checked is None or item.keys() != checked:
            _check_columns(item, columns, file, at)
            checked = item.keys()
        row = {
            "id": str(number) if columns.id is None else _id(item[columns.id], columns.id, file, at),
            "text": _text(item[columns.text], columns, columns.text, file, at),
            "text_pair": columns.text_pair and _text(item[columns.text_pair], columns, columns.text_pair, file, at),
            "label": (_number if columns.numeric else _class)(item[columns.label], columns.label, file, at),
            "at": at,
        }
        if row["id"] in seen:
            fail(file, f"{at}, column {show(columns.id)}", f"id {show(row['id'])} is used in {seen[row['id']]} too",
                 "give every row an id of its own")  # fmt: skip
        seen[row["id"]] = at
        rows.append(row)
    return rows


def _numbered(
    read: dict[str, list[Row]], places: dict[str, str], columns: Columns, classes: Sequence[str] | None
) -> tuple[dict[str, list[Row]], tuple[str, ...]]:
    """Turns class names into class numbers, and drops "at"."""
    names: tuple[str, ...] = ()
    if not columns.numeric:
        names = tuple(classes) if classes else _sorted({row["label"] for row in read["train"]})
        if len(names) < 2:
            fix = "give the training data two classes or more"
            fail(places["train"], f"column {show(columns.label)}", f"has one class only, {show(names[0])}", fix)
    number = {name: i for i, name in enumerate(names)}
    for split, rows in read.items():
        for row in rows:
            at = row.pop("at")
            if columns.numeric:
                continue
            if row["label"] not in number:
                where = "data.labels" if classes else "the training data"
                fix = f"correct it, or add it to {where}, which has {', '.join(map(show, names))}"
                fail(places[split], f"{at}, column {show(columns.label)}", f"is {show(row['label'])}", fix)
            row["label"] = number[row["label"]]
    return read, names


def _sorted(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=int if all(name.isdecimal() for name in names) else None))


def _check_different(paths: Mapping[str, Path]) -> None:
    known: dict[bytes, str] = {}
    for split, path in paths.items():
        content = path.read_bytes() if path.is_file() else None
        if content and (earlier := known.setdefault(content, split)) != split:
            fix = "name different files: a score on data that was trained on means nothing"
            fail("params.yaml", f"data.{split} = {path}", f"is the same file as data.{earlier} = {paths[earlier]}", fix)


def _check_columns(names: Iterable[str], columns: Columns, file: str, at: str = "header") -> None:
    fields = {"text": columns.text, "text_pair": columns.text_pair, "label": columns.label, "id": columns.id}
    names = list(names)
    for field, name in fields.items():
        if name is not None and name not in names:
            fix = f"set data.{field} to one of {', '.join(map(show, names))}"
            fail(file, at, f"has no column {show(name)}", fix)


def cleaned(text: str, strip_html: bool) -> str:
    """A text as rows hold it: without space around it and, where asked for, without tags."""
    return (html.unescape(_TAG.sub(" ", text)) if strip_html else text).strip()


def _text(value: Any, columns: Columns, name: str, file: str, at: str) -> str:
    place = f"{at}, column {show(name)}"
    if not isinstance(value, str):
        fail(file, place, f"is {show(value)}", "it must be a string")
    value = cleaned(value, columns.strip_html)
    if not value:
        fail(file, place, "is empty", "write a text or remove the row")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        fail(file, place, f"holds half a surrogate pair at character {error.start}", "write valid Unicode")
    return value


def _id(value: Any, name: str, file: str, at: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        fail(file, f"{at}, column {show(name)}", f"is {show(value)}", "an id is a text or a whole number")
    return str(value)


def _class(value: Any, name: str, file: str, at: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        fail(file, f"{at}, column {show(name)}", f"is {show(value)}", "a class is a name or a whole number")
    return str(value).strip()


def _number(value: Any, name: str, file: str, at: str) -> float:
    try:
        # float() would also take 1_000 and true.
        number = math.nan if isinstance(value, bool) or "_" in str(value) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        fail(file, f"{at}, column {show(name)}", f"is {show(value)}", "task regression needs a finite number")
    return number
