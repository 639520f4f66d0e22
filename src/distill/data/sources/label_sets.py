"""Gold labels of texts that have several classes, or none: names in files and data sets, numbers in rows.

A row's label is the sorted list of its classes' numbers; an empty list is a row of which no class is true, which is
learnt from and scored like any other. Only null (None) is a row that nobody has labelled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distill.data.sources import labels
from distill.data.sources.squad_json import Row, fail, show

# Classes that a message lists.
_MOST = 20


def class_names(value: Any, column: str, file: str, at: str, separator: str) -> list[str] | None:
    """The names of a row's classes in their order; None where there is no label.

    Args:
        value: a list of names or whole numbers, or a text with `separator` between the names; an empty list, or a text
            of nothing but space, is no class at all.
        column: the label's column. file, at: file and place in it, for the message.

    Raises:
        UserError: the value is neither, holds what is no name, or names a class twice.
    """
    if labels.is_missing(value):
        return None
    place = f"{at}, column {show(column)}"
    if isinstance(value, str):
        if value.strip().startswith("[") and value.strip().endswith("]"):
            fix = f"write the names with {show(separator)} between them, or the file as JSON lines"
            fail(file, place, f"is {show(value)}, a list that is a text", fix)
        value = value.split(separator) if value.strip() else []
    if not isinstance(value, (list, tuple)):
        fix = f"give a list of classes, or their names in a text with {show(separator)} between them"
        fail(file, place, f"is {show(value)}", fix)
    names = [labels.class_name(item, column, file, at) for item in value]
    if None in names:
        fail(file, place, f"is {show(list(value))}, with a class that is null", "leave it out, or name it")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        fix = "name each class of a row once"
        if set(names) <= {"0", "1"}:
            fix = "name the classes that are true; 0 and 1 for each class in turn are not read"
        fail(file, place, f"names class {show(twice[0])} twice", fix)
    return names


def numbered(
    read: Mapping[str, list[Row]],
    places: Mapping[str, str],
    fixes: Mapping[str, str],
    column: str,
    classes: Sequence[str] | None,
    unlabelled: str,
) -> tuple[dict[str, list[Row]], tuple[str, ...]]:
    """Leaves out rows without a label, aloud, turns names into sorted numbers, and drops "at".

    Args:
        read: rows by split, with the names of their classes as label.
        places, fixes: each split's name in messages, and what to do where no row of it has a label.
        column: the label's column.
        classes: names of the classes in order; None takes those of the training rows, sorted.
        unlabelled: the split whose rows have no labels.

    Returns:
        (rows by split, names of the classes)

    Raises:
        UserError: a split without a labelled row, fewer than two classes, or a class that is none of them.
    """
    first = "train" if "train" in read else "selection"
    kept = {
        split: rows if split == unlabelled else _labelled(rows, column, places[split], fixes[split])
        for split, rows in read.items()
    }
    names = tuple(classes or labels.ordered({name for row in kept[first] for name in row["label"]}))
    if len(names) < 2:
        had = f"only one class, {show(names[0])}" if names else "no class in any row"
        fix = "give the training data two classes or more" if first == "train" else "name all in data.labels"
        fail(places[first], f"column {show(column)}", f"has {had}", fix)
    number = {name: place for place, name in enumerate(names)}
    for split, rows in kept.items():
        for row in rows:
            at = row.pop("at")
            if split == unlabelled:
                continue
            if strange := [name for name in row["label"] if name not in number]:
                where = "data.labels" if classes else "the training data" if first == "train" else "that of selection"
                more = f" and {len(names) - _MOST:,} more" if len(names) > _MOST else ""
                fix = f"correct it, or add it to {where}, which has {', '.join(map(show, names[:_MOST]))}{more}"
                fail(places[split], f"{at}, column {show(column)}", f"has class {show(strange[0])}", fix)
            row["label"] = sorted(number[name] for name in row["label"])
    return kept, names


def untaught(rows: Sequence[Row], classes: Sequence[str]) -> list[str]:
    """The classes that no row has, in their order."""
    present = {number for row in rows for number in row["label"]}
    return [name for number, name in enumerate(classes) if number not in present]


def _labelled(rows: list[Row], column: str, place: str, fix: str) -> list[Row]:
    kept = [row for row in rows if row["label"] is not None]
    if not kept:
        fail(place, f"column {show(column)}", f"{len(rows)} of {len(rows)} rows have no label", fix)
    if len(kept) < len(rows):
        hint = "; an empty list is a row of no class"
        print(f"  dropped {len(rows) - len(kept):,} rows without a label (null): {place}{hint}", flush=True)
    return kept
