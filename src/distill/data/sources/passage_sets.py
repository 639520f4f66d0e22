"""Sources of rankings: queries with passages that are relevant to them or not, from files or the Hugging Face hub.

Three forms, told apart by what stands there:

- groups, a query each (JSON lines, hub): {"query": …, "passages": [{"text": …, "label": 1}, …]}, both with an "id" or
  not; `data.text` names the query where it is called otherwise, `data.text_pair` and `data.label` the others;
- flat rows (all files, hub), a pair of query and passage each: columns `data.text`, `data.text_pair`, `data.label`.
  Rows of the same query text are a group, or of the same value in the column that `data.group` names;
- triples (.tsv without a header): query, relevant passage, irrelevant passage, as MS MARCO has them.

The id of a row is that of `data.id` (flat rows), or those of query and passage, `7/2`; numbers from 0 without any.

A row is `{"id", "text": query, "text_pair": passage, "label": relevance, "query": id of the query}`, the rows of a
query one after another. Relevance is a whole number from 0 (not relevant) on, as trec_eval has it; NaN: no label.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill.config.data import parameter
from distill.data.sources import hub, nested, text_files
from distill.data.sources.squad_json import Row, encodable, fail, show
from distill.data.sources.text_sets import TRANSFER, Columns, check_different, cleaned

_PASSAGES, _QUERY, _TEXT, _LABEL, _ID = "passages", "query", "text", "label", "id"
# Values of a line of triples.
_TRIPLE = ("query", "relevant passage", "irrelevant passage")


@dataclass
class _Group:
    """A query while it is read; `passages`: text → (id or None, relevance or None, place)."""

    name: str
    query: str
    at: str
    passages: dict[str, tuple[str | None, float | None, str]] = field(default_factory=dict)

    def add(self, text: str, name: str | None, label: float | None, file: str, at: str) -> bool:
        """Adds a passage, unless the group has it with the same relevance; returns whether it is new.

        Raises:
            UserError: the group has it with another relevance or with an id, which asks for a score of its own.
        """
        if text not in self.passages:
            self.passages[text] = name, label, at
            return True
        known, relevance, place = self.passages[text]
        if (known, relevance) != (None, label) or name is not None:
            other = "" if relevance == label else ", with another relevance"
            said = f"is a passage of query {show(self.query)} already, in {place}{other}"
            fail(file, f"{at}, passage {show(text)}", said, "name each passage of a query once")
        return False


class _Reader:
    """Reads the records of a split into groups."""

    def __init__(self, columns: Columns, file: str, split: str):
        self.columns, self.file, self.split = columns, file, split
        self.groups: dict[str, _Group] = {}
        self.by_text: dict[str, _Group] = {}
        self.labelled = split != TRANSFER
        self.repeated = 0  # passages that a query has already

    def read(self, items: Iterable[text_files.Record]) -> None:
        """Reads groups or flat rows, by whether the record has passages."""
        for at, item in items:
            (self._group if _PASSAGES in item else self._flat)(item, at)

    def triples(self, lines: Iterable[tuple[int, list[str]]]) -> None:
        """Reads lines of triples; passages that a query has already are no error there."""
        for number, values in lines:
            at = f"line {number}"
            if len(values) != len(_TRIPLE):
                fix = f"write {', '.join(_TRIPLE)}, or begin the file with a header"
                fail(self.file, at, f"has {len(values)} values, not three", fix)
            query, *texts = (self._text(value, name, at) for value, name in zip(values, _TRIPLE, strict=True))
            group = self.by_text.get(query) or self._new(None, query, at)
            for text, label in zip(texts, (1.0, 0.0), strict=True):
                known = group.passages.setdefault(text, (None, label if self.labelled else None, at))
                if self.labelled and known[1] != label:
                    fix = "take out one of the lines"
                    said = f"is relevant in one place and irrelevant in another ({known[2]})"
                    fail(self.file, f"{at}, passage {show(text)}", said, fix)

    def rows(self) -> list[Row]:
        """All rows, in order; groups without any label are left out, and counted aloud.

        Raises:
            UserError: a group with labels lacks one, or an id is used twice.
        """
        rows, dropped, seen = [], 0, {}
        for group in self.groups.values():
            missing = [(text, at) for text, (_, label, at) in group.passages.items() if label is None]
            if self.labelled and missing:
                if len(missing) < len(group.passages):
                    text, at = missing[0]
                    fail(self.file, f"{at}, passage {show(text)}", "has no relevance, and others of the query have",
                         "give it one: 0 where it is not relevant")  # fmt: skip
                dropped += 1
                continue
            for number, (text, (name, label, at)) in enumerate(group.passages.items()):
                own = f"{group.name}/{number}" if name is None else name
                if own in seen:
                    fail(self.file, at, f"id {show(own)} is used in {seen[own]} too", "give every row an id of its own")
                seen[own] = at
                value = math.nan if label is None else label
                rows.append({"id": own, "text": group.query, "text_pair": text, "label": value, "query": group.name})
        if dropped:
            print(f"  dropped {dropped:,} queries without relevance: {self.file}", flush=True)
        if self.repeated:
            print(f"  dropped {self.repeated:,} passages that their query has already: {self.file}", flush=True)
        if not rows:
            problem = "no query has passages with relevance" if self.groups else "there are none"
            fail(self.file, "queries", problem, f"add some, or name other data: {parameter(self.split)}")
        return rows

    def _group(self, item: Mapping[str, Any], at: str) -> None:
        given = next((name for name in (self.columns.text, _QUERY) if name in item), None)
        if given is None:
            fix = f'write {{"{_QUERY}": …, "{_PASSAGES}": […]}}, or set data.text'
            fail(self.file, at, f"has no {show(self.columns.text)} beside its passages", fix)
        query = self._text(item[given], given, at)
        if earlier := self.by_text.get(query):
            fail(self.file, f"{at}, {given}", f"{show(query)} is the query of {earlier.at} too",
                 "put all its passages into one group")  # fmt: skip
        passages = nested.objects(item[_PASSAGES])
        if not isinstance(passages, list) or not all(isinstance(one, Mapping) for one in passages):
            fix = f'write a list of {{"{_TEXT}": …, "{_LABEL}": 0 or 1}}'
            fail(self.file, f"{at}, {_PASSAGES}", f"is {show(passages)}", fix)
        if not passages:
            fail(self.file, f"{at}, {_PASSAGES}", "is empty", "give the query a passage, or remove it")
        group = self._new(self._name(item[_ID], _ID, at) if item.get(_ID) is not None else None, query, at)
        names = {_TEXT: self.columns.text_pair, _LABEL: self.columns.label}
        for number, passage in enumerate(passages):
            place = f"{at}, {_PASSAGES}[{number}]"
            found = {ours: next((n for n in (ours, theirs) if n in passage), ours) for ours, theirs in names.items()}
            text = self._text(passage.get(found[_TEXT]), found[_TEXT], place)
            name = passage.get(_ID)
            name = None if name is None else f"{group.name}/{self._name(name, _ID, place)}"
            label = self._relevance(passage.get(found[_LABEL]), found[_LABEL], place)
            self.repeated += not group.add(text, name, label, self.file, place)

    def _flat(self, item: Mapping[str, Any], at: str) -> None:
        columns, known = self.columns, {}
        needed = {"text": columns.text, "text_pair": columns.text_pair, "id": columns.id, "group": columns.group}
        needed |= {"label": columns.label} if self.labelled else {}
        for parameter_name, name in needed.items():
            if name is not None and name not in item:
                fix = f"set data.{parameter_name} to one of {', '.join(map(show, item))}"
                fail(self.file, at, f"has no column {show(name)}", fix)
            known[parameter_name] = None if name is None else item[name]
        query = self._text(known["text"], columns.text, at)
        name = None if columns.group is None else self._name(known["group"], columns.group, at)
        group = self.by_text.get(query) if name is None else self.groups.get(name)
        if group is not None and group.query != query:
            fail(self.file, f"{at}, column {show(columns.text)}", f"is {show(query)}, and {group.at} has"
                 f" {show(group.query)} for group {show(name)}", "give every query a group of its own")  # fmt: skip
        if group is None and query in self.by_text:
            fail(self.file, f"{at}, column {show(columns.group)}", f"is {show(name)}, and the same query has"
                 f" {show(self.by_text[query].name)} in {self.by_text[query].at}",
                 "give all passages of a query the same group")  # fmt: skip
        group = group or self._new(name, query, at)
        row_id = None if columns.id is None else self._name(known["id"], columns.id, at)
        text = self._text(known["text_pair"], columns.text_pair, at)
        label = self._relevance(known["label"], columns.label, at) if self.labelled else None
        self.repeated += not group.add(text, row_id, label, self.file, at)

    def _new(self, name: str | None, query: str, at: str) -> _Group:
        name = str(len(self.groups)) if name is None else name
        if name in self.groups:
            fail(self.file, at, f"query id {show(name)} is used in {self.groups[name].at} too",
                 "give every query an id of its own")  # fmt: skip
        self.groups[name] = self.by_text[query] = _Group(name, query, at)
        return self.groups[name]

    def _text(self, value: Any, name: str, at: str) -> str:
        if not isinstance(value, str):
            fail(self.file, f"{at}, {name}", f"is {show(value)}", "it must be a string")
        if not (value := cleaned(value, self.columns.strip_html)):
            fail(self.file, f"{at}, {name}", "is empty", "write a text or remove it")
        return encodable(value, self.file, f"{at}, {name}")

    def _name(self, value: Any, name: str, at: str) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
            fail(self.file, f"{at}, {name}", f"is {show(value)}", "an id is a text or a whole number")
        return encodable(str(value), self.file, f"{at}, {name}")

    def _relevance(self, value: Any, name: str, at: str) -> float | None:
        if not self.labelled or value is None:
            return None
        try:
            number = float(value) if "_" not in str(value) else math.nan
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not (math.isfinite(number) and number >= 0 and number.is_integer()):
            fix = "relevance is a whole number from 0 on, 0 where the passage is not relevant"
            fail(self.file, f"{at}, {name}", f"is {show(value)}", fix)
        return number


def load_files(paths: Mapping[str, Path], columns: Columns) -> dict[str, list[Row]]:
    """Reads files of queries with passages.

    Args:
        paths: file of each split.
        columns: columns to read; see the head of this file.

    Returns:
        rows by split, in the order of `paths`

    Raises:
        UserError: anything wrong with a file, or the same file for two splits.
    """
    check_different(paths)
    found = {}
    for split, path in paths.items():
        reader = _Reader(columns, str(path), split)
        if _are_triples(path, columns):
            print(f"  read as triples (query, relevant passage, irrelevant passage): {path}", flush=True)
            reader.triples(text_files.tsv(path, parameter(split)))
        else:
            reader.read(text_files.records(path, parameter(split)))
        found[split] = reader.rows()
    return found


def load_hub(
    name: str, subset: str | None, revision: str | None, splits: Mapping[str, str], columns: Columns
) -> dict[str, list[Row]]:
    """Reads splits of a dataset of the hub, groups or flat rows; arguments as of `text_sets.load_hub`.

    Raises:
        UserError: the dataset cannot be loaded, lacks a column, or holds a bad value.
    """
    found = {}
    with hub.opened(name, subset, revision) as split_of:
        for split, hub_split in splits.items():
            reader = _Reader(columns, hub.place(name, revision, hub_split), split)
            reader.read((f"row {i}", item) for i, item in enumerate(split_of(hub_split)))
            found[split] = reader.rows()
    return found


def _are_triples(path: Path, columns: Columns) -> bool:
    """Whether a file begins without a header: three values, none of which is a column's name."""
    if path.suffix.lower() != ".tsv" or not path.is_file():
        return False
    with path.open("rb") as file:
        values = file.readline().decode("utf-8-sig", errors="replace").rstrip("\r\n").split("\t")
    return len(values) == len(_TRIPLE) and columns.text not in values and columns.text_pair not in values
