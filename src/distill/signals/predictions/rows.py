"""Which rows of the data a record is about: by id or by text, never by the order of rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from distill.data.loading.prepared import Prepared
from distill.data.sources import text_sets
from distill.data.sources.squad_json import show
from distill.signals.predictions.files import Record

#: A row of the data: split, and number in its examples.
Row = tuple[str, int]
ID, SPLIT = "id", "split"
#: Carved out of each other where their ids differ: rows of one were rows of the other under another seed.
CARVED = ("train", "selection")


class Rows:
    """The examples of some splits, found by their ids and texts.

    Args:
        data: prepared data.
        splits: names of its splits.
        unopened: names of further splits, of which nothing is known here but that there are such.

    Attributes:
        texts: columns that together are a row's text: text and text_pair, or question and context.
        size: number of examples by split.
    """

    def __init__(self, data: Prepared, splits: Iterable[str], unopened: Collection[str] = ()):
        meta, self.unopened = data.meta, unopened
        self.texts = ("question", "context") if meta["task"] == "qa" else ("text", "text_pair")[: 1 + meta["pairs"]]
        self.splits, self.strip_html = tuple(splits), meta.get("strip_html", False)
        self.size: dict[str, int] = {}
        self._by_id: dict[str, list[Row]] = defaultdict(list)
        self._by_text: dict[tuple[str, ...], list[Row]] = defaultdict(list)
        self._text: dict[Row, tuple[str, ...]] = {}
        self.ids: dict[str, list[str]] = {}
        for split in self.splits:
            examples = data.examples(split)
            table = {name: examples.data.column(name).to_pylist() for name in (ID, *self.texts)}
            self.ids[split], self.size[split] = table[ID], len(examples)
            for number, key in enumerate(table[ID]):
                text = tuple(self._cleaned(table[name][number]) for name in self.texts)
                self._by_id[key].append((split, number))
                self._by_text[text].append((split, number))
                self._text[split, number] = text
        carved = [set(self.ids[split]) for split in CARVED if split in self.splits]
        self._share_ids = len(carved) == 2 and carved[0].isdisjoint(carved[1])

    def is_elsewhere(self, record: Record) -> bool:
        """Whether a record says that it is about a split that is not opened."""
        return record.values.get(SPLIT) in self.unopened

    def of(self, record: Record) -> list[Row]:
        """The rows that a record is about; none where the data has no such row.

        With an id, these are the rows of that id; a text beside it must be theirs. Without one, the rows of that text.

        Raises:
            UserError: the record has neither id nor text, its id is used in several splits and it does not say which,
                or the row of its id has another text.
        """
        wanted = self._splits_of(record)
        text = self._text_of(record)
        if ID not in record.values:
            if text is None or len(text) < len(self.texts):
                lacks = f"{ID}, {' and '.join(self.texts)}"
                record.fail(
                    ID, f"is missing, and so is the text, among {', '.join(map(show, record.values)) or 'no columns'}",
                    f"a row is known by {lacks.replace(', ', ', or by ', 1)}")  # fmt: skip
            return [row for row in self._by_text.get(tuple(text.values()), ()) if row[0] in wanted]
        key = record.values[ID]
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            record.fail(ID, f"is {show(key)}", "an id is a text or a whole number")
        found = [row for row in self._by_id.get(str(key), ()) if row[0] in wanted]
        same = [row for row in found if all(self._has(row, name, value) for name, value in (text or {}).items())]
        if found and not same:
            split, name = found[0][0], next(name for name in text if not self._has(found[0], name, text[name]))
            actual = self._text[found[0]][self.texts.index(name)]
            record.fail(
                f"{ID} {show(str(key))}", f"has the {name} {show(text[name])}, and that of {split} is {show(actual)}",
                "the ids are those of other data: name the rows by their texts alone")  # fmt: skip
        splits = list(dict.fromkeys(split for split, _ in same))
        if len(splits) > 1 and not text:
            record.fail(
                f"{ID} {show(str(key))}", f"is one of {' and '.join(splits)}",
                f"say which in column {SPLIT}, or give the text beside the id")  # fmt: skip
        return same

    def _splits_of(self, record: Record) -> tuple[str, ...]:
        """The splits that a record may be about."""
        named = record.values.get(SPLIT)
        if named is None:
            return self.splits
        if named not in self.splits:
            record.fail(SPLIT, f"is {show(named)}", f"the data has {', '.join((*self.splits, *self.unopened))}")
        return CARVED if self._share_ids and named in CARVED else (named,)

    def _text_of(self, record: Record) -> dict[str, str] | None:
        given = {name: record.values[name] for name in self.texts if name in record.values}
        for name, value in given.items():
            if not isinstance(value, str):
                record.fail(name, f"is {show(value)}", "it must be a string")
        return {name: self._cleaned(value) for name, value in given.items()} or None

    def _has(self, row: Row, name: str, text: str) -> bool:
        return self._text[row][self.texts.index(name)] == text

    def _cleaned(self, text: str) -> str:
        """A text as stage prepare keeps it."""
        return text_sets.cleaned(text, self.strip_html)
