"""Sources of labelled texts: the embedded corpus, the user's files, or the Hugging Face hub.

A row is `{"id": str, "text": str, "text_pair": str | None, "label": int | float | list[int]}`: the class's number, the
value for regression, or the numbers of several classes (`distill.data.sources.label_sets`); with `"group": str` where a
column of groups is read. All of it is checked before anything is written. Rows without a gold label are left out, and
counted aloud. Those of split "transfer" have none: their label is -100, NaN or None, and a column of labels
that is there is not read.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from distill.config.data import parameter
from distill.data.sources import hub, label_sets, labels, text_files
from distill.data.sources.squad_json import Row, encodable, fail, show

# The split without labels.
TRANSFER = "transfer"
# A tag, not "a < b": a letter follows the bracket.
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")


@dataclass(frozen=True)
class Columns:
    """The columns to read, and how their values are read.

    Attributes:
        text, text_pair: names of the columns of the text and, for pairs, of the second text.
        label: name of the column of the class or the number; None: no labels are read.
        id: name of the column of ids; None: the id is the row's number, from 0.
        numeric: labels are numbers (regression), not classes.
        strip_html: replace tags by a space and decode entities.
        group: name of the column of groups (`distill.data.sources.groups`), which training data must have and other
            splits may have; None: no groups.
        separator: stands between the names of a row's classes where they are one text; None: a row has one label.
    """

    text: str
    text_pair: str | None
    label: str | None
    id: str | None
    numeric: bool
    strip_html: bool
    group: str | None = None
    separator: str | None = None

    @property
    def label_of(self) -> Callable[[Any, str, str, str], Any]:
        """Function from a value, its column, file and place to the label; None where there is none."""
        if self.separator is not None:
            return partial(label_sets.class_names, separator=self.separator)
        return labels.number if self.numeric else labels.class_name

    @property
    def missing(self) -> Any:
        """The label of a row whose labels are not read."""
        if self.separator is not None:
            return None
        return math.nan if self.numeric else labels.UNLABELLED

    @property
    def texts(self) -> list[str]:
        """The columns of texts, one or two."""
        return [name for name in (self.text, self.text_pair) if name is not None]

    @property
    def needed(self) -> list[str]:
        """The columns that must be there, each once: groups may go by a column of texts."""
        names = (self.text, self.text_pair, self.label, self.id, self.group)
        return list(dict.fromkeys(name for name in names if name is not None))

    def of(self, split: str, names: Iterable[str]) -> Columns:
        """These columns for a split that has columns `names`: without groups where the split need not and does not.

        Those of split "transfer" are without labels.
        """
        label = None if split == TRANSFER else self.label
        group = self.group if split == "train" or self.group in names else None
        return self if (label, group) == (self.label, self.group) else replace(self, label=label, group=group)


def load_files(
    paths: Mapping[str, Path], columns: Columns, classes: Sequence[str] | None
) -> tuple[dict[str, list[Row]], tuple[str, ...]]:
    """Reads files of texts.

    Args:
        paths: file of each split, "train" among them, or "selection".
        columns: columns to read.
        classes: names of the classes in order; None takes the training file's, sorted (as numbers, where all are);
            without such a file the selection file's.

    Returns:
        (rows by split in the order of `paths`, names of the classes; none for regression)

    Raises:
        UserError: anything wrong with a file, a class that training does not know, or the same file for two splits.
    """
    check_different(paths)
    read = {
        split: _rows(text_files.records(path, parameter(split)), columns, str(path), split)
        for split, path in paths.items()
    }
    fixes = {split: f"add labels, or name another file: {parameter(split)}" for split in paths}
    return _numbered(read, {split: str(path) for split, path in paths.items()}, fixes, columns, classes)


def load_hub(
    name: str,
    subset: str | None,
    revision: str | None,
    splits: Mapping[str, str],
    columns: Columns,
    classes: Sequence[str] | None,
) -> tuple[dict[str, list[Row]], tuple[str, ...]]:
    """Reads splits of a dataset of the hub, or of a local folder in its layout.

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
    read, places = {}, {}
    with hub.opened(name, subset, revision) as split_of:
        for split, hub_split in splits.items():
            place = places[split] = hub.place(name, revision, hub_split)
            dataset = split_of(hub_split)
            read_columns = columns.of(split, dataset.column_names)
            _check_columns(dataset.column_names, read_columns, place)
            _say_unread(split, columns, dataset.column_names, place)
            items = ((f"row {i}", item) for i, item in enumerate(dataset.select_columns(read_columns.needed)))
            if split in ("train", TRANSFER):
                items = _with_texts(items, columns, place)
            if label := read_columns.label:
                kind = dataset.features[label]
                kind = getattr(kind, "feature", kind)  # of the items, where a label is a list
                names = None if columns.numeric else getattr(kind, "names", None)
                if names and classes is None:
                    classes = tuple(names)
                items = _with_hub_labels(items, label, names, columns.separator is not None)
            read[split] = _rows(items, columns, place, split)
            if not read[split]:
                fail(place, "rows", "there are none", "choose another split")
    fixes = {split: f"choose a split with labels: {parameter(split, 'hub')}" for split in splits}
    return _numbered(read, places, fixes, columns, classes)


def _with_hub_labels(
    items: Iterable[text_files.Record], label: str, names: Sequence[str] | None, several: bool
) -> Iterator[text_files.Record]:
    label_of = _hub_labels if several else _hub_label
    return ((at, item | {label: label_of(item[label], names)}) for at, item in items)


def _say_unread(split: str, columns: Columns, names: Iterable[str], file: str) -> None:
    """Says that the labels of a transfer set are not read, where it has some."""
    if split == TRANSFER and columns.label in names:
        print(f"  the labels in column {show(columns.label)} are not read: {file} is the transfer set", flush=True)


def _with_texts(items: Iterable[text_files.Record], columns: Columns, file: str) -> Iterator[text_files.Record]:
    """Drops training rows without a text and prints their number: datasets of the hub have some (QQP)."""
    empty = 0
    for at, item in items:
        texts = [item[name] for name in columns.texts]
        if all(not isinstance(text, str) or cleaned(text, columns.strip_html) for text in texts):
            yield at, item
        else:
            empty += 1
    if empty:
        print(f"  dropped {empty:,} rows without a text: {file}", flush=True)


def _rows(items: Iterable[text_files.Record], columns: Columns, file: str, split: str) -> list[Row]:
    """Rows whose label is still the class's name, or None; "at" is the row's place in the file.

    Raises:
        UserError: a row has a bad value; rows have an empty text, of which the message says how many.
    """
    rows: list[Row] = []
    empty: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    checked = None
    label_of, missing = columns.label_of, columns.missing
    for number, (at, item) in enumerate(items):
        # Tables have the same keys in every row: one look is enough. JSON lines may differ.
        if checked is None:
            _say_unread(split, columns, item, file)
            columns = columns.of(split, item)
        if checked is None or item.keys() != checked:
            _check_columns(item, columns, file, at)
            checked = item.keys()
        texts = {name: _text(item[name], columns, name, file, at) for name in columns.texts}
        if without := [name for name, text in texts.items() if not text]:
            empty.append((at, without[0]))
            continue
        row = {
            "id": str(number) if columns.id is None else _name(item[columns.id], columns.id, file, at, "an id"),
            "text": texts[columns.text],
            "text_pair": columns.text_pair and texts[columns.text_pair],
            "label": missing if columns.label is None else label_of(item[columns.label], columns.label, file, at),
            "at": at,
        }
        if columns.group is not None:
            row["group"] = _name(item[columns.group], columns.group, file, at, "a group")
        if row["id"] in seen:
            fail(file, f"{at}, column {show(columns.id)}", f"id {show(row['id'])} is used in {seen[row['id']]} too",
                 "give every row an id of its own")  # fmt: skip
        seen[row["id"]] = at
        rows.append(row)
    if empty:
        (at, name), further = empty[0], [where for where, _ in empty[1:]]
        shown = ", ".join(further[:5]) + (" …" if len(further) > 5 else "")
        more = f", and so are the texts of {len(further):,} further rows ({shown})" if further else ""
        fix = "write the texts or remove the rows" if further else "write a text or remove the row"
        fail(file, f"{at}, column {show(name)}", f"is empty{more}", fix)
    return rows


def _numbered(
    read: dict[str, list[Row]],
    places: dict[str, str],
    fixes: dict[str, str],
    columns: Columns,
    classes: Sequence[str] | None,
) -> tuple[dict[str, list[Row]], tuple[str, ...]]:
    """Leaves out rows without a label, turns class names into class numbers, and drops "at".

    Args:
        places, fixes: each split's name in messages, and what to do where no row of it has a label.
    """
    if columns.separator is not None:
        return label_sets.numbered(read, places, fixes, str(columns.label), classes, TRANSFER)
    names: tuple[str, ...] = ()
    unlabelled: set[str | None] = {None}
    first = "train" if "train" in read else "selection"
    if not columns.numeric:
        values = {row["label"] for row in read[first]} - {None}
        unlabelled |= labels.placeholders(values, classes)
        names = tuple(classes) if classes else labels.ordered(values - unlabelled)
    labelled = {
        split: rows if split == TRANSFER else _labelled(rows, unlabelled, columns, places[split], fixes[split])
        for split, rows in read.items()
    }
    if not columns.numeric and len(names) < 2:
        fix = "give the training data two classes or more" if first == "train" else "name all in data.labels"
        fail(places[first], f"column {show(columns.label)}", f"has one class only, {show(names[0])}", fix)
    number = {name: i for i, name in enumerate(names)}
    for split, rows in labelled.items():
        for row in rows:
            at = row.pop("at")
            if columns.numeric or split == TRANSFER:
                continue
            if row["label"] not in number:
                where = "data.labels" if classes else "the training data" if first == "train" else "that of selection"
                fix = f"correct it, or add it to {where}, which has {', '.join(map(show, names))}"
                fail(places[split], f"{at}, column {show(columns.label)}", f"is {show(row['label'])}", fix)
            row["label"] = number[row["label"]]
    return labelled, names


def _labelled(rows: list[Row], unlabelled: set[str | None], columns: Columns, place: str, fix: str) -> list[Row]:
    """The rows with a label; prints how many there are without."""
    kept = [row for row in rows if row["label"] not in unlabelled]
    if not kept:
        fail(place, f"column {show(columns.label)}", f"{len(rows)} of {len(rows)} rows have no label", fix)
    if len(kept) < len(rows):
        values = {row["label"] for row in rows} & unlabelled
        shown = ", ".join(sorted("null" if value is None else value for value in values))
        hint = "" if values == {None} else "; if that is a class, name all classes in data.labels"
        print(f"  dropped {len(rows) - len(kept):,} rows without a label ({shown}): {place}{hint}", flush=True)
    return kept


def _hub_label(value: Any, names: Sequence[str] | None) -> Any:
    """A label of the hub as files have it: the class's name; None for "no label", which is -1 beside names."""
    if isinstance(value, str):
        return value if value.strip() else None
    if names is None or value is None:
        return value
    return names[value] if value >= 0 else None


def _hub_labels(value: Any, names: Sequence[str] | None) -> Any:
    """A list of labels of the hub as files have it; a text of names stays as it is, also an empty one."""
    return [_hub_label(item, names) for item in value] if isinstance(value, list) else value


def check_different(paths: Mapping[str, Path]) -> None:
    """Raise a UserError where two splits are the same file; a transfer set may be that of the training rows."""
    known: dict[bytes, str] = {}
    for split, path in paths.items():
        content = path.read_bytes() if path.is_file() else None
        if split == TRANSFER and known.get(content) == "train":
            continue  # the rows of train that are not drawn, say
        if content and (earlier := known.setdefault(content, split)) != split:
            fix = "name different files: a score on data that was trained on means nothing"
            same = f"is the same file as {parameter(earlier)} = {paths[earlier]}"
            fail("params.yaml", f"{parameter(split)} = {path}", same, fix)


def _check_columns(names: Iterable[str], columns: Columns, file: str, at: str = "header") -> None:
    fields = {name: getattr(columns, name) for name in ("text", "text_pair", "label", "id", "group")}
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
    return encodable(cleaned(value, columns.strip_html), file, place)


def _name(value: Any, column: str, file: str, at: str, noun: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        fail(file, f"{at}, column {show(column)}", f"is {show(value)}", f"{noun} is a text or a whole number")
    return encodable(str(value), file, f"{at}, column {show(column)}")
