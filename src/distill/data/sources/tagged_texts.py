"""Sources of texts whose words have tags: CoNLL columns, JSON lines, the embedded corpus, or the Hugging Face hub.

A row is `{"id", "text", "text_pair": None, "starts", "ends", "tags"}`: the characters of each word in the text, from
the first to before the last, and the number of each word's tag; `tags` is None in split "transfer". `group` is there
where a column of groups is read. A list of words becomes a text with a space between each two. A text with character
spans becomes words by `pre_tokens`, and its spans become IOB2 tags. All of it is checked before anything is written,
and rows whose label is null are left out, counted aloud.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from distill.config.data import parameter
from distill.data.sources import conll, hub, nested, pre_tokens, tag_schemes, text_files
from distill.data.sources.squad_json import Row, encodable, fail, show
from distill.data.sources.text_sets import TRANSFER, check_different

#: The files that are read; those with columns have no names for them.
SUFFIXES = (*conll.SUFFIXES, ".jsonl", ".json")


@dataclass(frozen=True)
class Columns:
    """The columns to read: of the text or its words, of its tags or spans, of ids and groups (None: there are none)."""

    text: str
    label: str
    id: str | None
    group: str | None


@dataclass(frozen=True)
class Tagged:
    """What was read.

    Attributes:
        rows: by split, in the order of the files.
        classes: names of the tags, by number.
        scheme: the scheme of the tags (`tag_schemes`).
    """

    rows: dict[str, list[Row]]
    classes: tuple[str, ...]
    scheme: str


@dataclass
class _Split:
    """A split on its way: rows whose tags are names, `at` and `line` (of the first word, in CoNLL) their places."""

    file: str
    fix: str
    rows: list[Row] = field(default_factory=list)
    snapped: int = 0

    def fail(self, row: Row, number: int, problem: str, fix: str) -> NoReturn:
        """Raise a UserError about a word of a row, or its tag."""
        at = f"{row['at']}, tag {number + 1}" if row["line"] is None else f"line {row['line'] + number}"
        fail(self.file, f"{at}, word {show(row['text'][row['starts'][number] : row['ends'][number]])}", problem, fix)


def load_files(paths: Mapping[str, Path], columns: Columns, classes: Sequence[str] | None) -> Tagged:
    """Reads files of tagged texts.

    Args:
        paths: file of each split, "train" among them, or "selection".
        columns: columns to read.
        classes: names of the tags, by number; None takes those of the training file (`tag_schemes.classes`), or, where
            there is none, of the selection file.

    Raises:
        UserError: anything wrong with a file: one line with file, line, value and fix.
    """
    check_different(paths)
    read = {}
    for split, path in paths.items():
        name = parameter(split)
        read[split] = _Split(str(path), f"add labels, or name another file: {name}")
        _fill(read[split], _records(path, name, columns, split != TRANSFER), columns, split, classes)
    return _numbered(read, classes)


def load_hub(
    name: str,
    subset: str | None,
    revision: str | None,
    splits: Mapping[str, str],
    columns: Columns,
    classes: Sequence[str] | None,
) -> Tagged:
    """Reads splits of a data set of the hub, or of a local folder in its layout; arguments as of `text_sets.load_hub`.

    The names of tags that are numbers are those of the column's ClassLabel.

    Raises:
        UserError: the data set cannot be loaded, lacks a column, or holds a bad value.
    """
    read = {}
    with hub.opened(name, subset, revision) as split_of:
        for split, hub_split in splits.items():
            place = hub.place(name, revision, hub_split)
            dataset = split_of(hub_split)
            read[split] = _Split(place, f"choose a split with labels: {parameter(split, 'hub')}")
            known = dataset.features.get(columns.label)
            names = getattr(getattr(known, "feature", None), "names", None)
            classes = classes or (tuple(names) if names else None)
            wanted = (columns.text, columns.label, columns.id, columns.group)
            dataset = dataset.select_columns([name for name in dataset.column_names if name in wanted])
            items = ((f"row {i}", None, item) for i, item in enumerate(dataset))
            _fill(read[split], items, columns, split, names or classes)
    return _numbered(read, classes)


def _records(
    path: Path, parameter_name: str, columns: Columns, tagged: bool
) -> Iterator[tuple[str, int | None, dict[str, Any]]]:
    """(place, line of the first word in CoNLL, values by column) of each row of a file."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        fix = f"name a file with {', '.join(SUFFIXES)}: {parameter_name}"
        fail(str(path), "file", f"has the suffix {show(path.suffix)}", fix)
    if suffix not in conll.SUFFIXES:
        yield from ((at, None, item) for at, item in text_files.records(path, parameter_name))
        return
    for name in ("id", "group"):
        if (column := getattr(columns, name)) is not None:
            fix = f"set data.{name} to null, or write JSON lines"
            fail(str(path), "file", f"is in columns without names, and has no {show(column)}", fix)
    for line, words, tags in conll.sentences(path, parameter_name, tagged):
        yield f"line {line}", line, {columns.text: words, columns.label: tags}


def _fill(
    part: _Split,
    items: Iterable[tuple[str, int | None, dict[str, Any]]],
    columns: Columns,
    split: str,
    classes: Sequence[str] | None,
) -> None:
    """Reads and checks the rows of a split; tags stay names."""
    tagged, seen, without = split != TRANSFER, {}, 0
    for number, (at, line, item) in enumerate(items):
        needed = {"text": columns.text} | ({"label": columns.label} if tagged else {})
        needed |= {"id": columns.id} if columns.id is not None else {}
        needed |= {"group": columns.group} if columns.group is not None and split == "train" else {}
        for name, column in needed.items():
            if column not in item:
                fix = f"set data.{name} to one of {', '.join(map(show, item))}"
                fail(part.file, at, f"has no column {show(column)}", fix)
        if tagged and item[columns.label] is None:
            without += 1
            continue
        row = {"id": str(number) if columns.id is None else _name(item[columns.id], part.file, at, columns.id)}
        if row["id"] in seen:
            problem = f"id {show(row['id'])} is used in {seen[row['id']]} too"
            fail(part.file, f"{at}, column {show(columns.id)}", problem, "give every row an id of its own")
        seen[row["id"]] = at
        row |= {"text_pair": None, "at": at, "line": line}
        _read_words(row, item[columns.text], part, columns)
        row["tags"] = (
            _read_tags(row, item[columns.text], item[columns.label], part, columns, classes) if tagged else None
        )
        if columns.group is not None and columns.group in item:
            row["group"] = _name(item[columns.group], part.file, at, columns.group)
        part.rows.append(row)
    if not part.rows:
        fail(part.file, f"column {show(columns.label)}", f"{without} of {without} rows have no label", part.fix)
    if without:
        print(f"  dropped {without:,} rows without a label (null): {part.file}", flush=True)
    if part.snapped:
        print(
            f"  widened {part.snapped:,} spans that begin or end inside of a word to whole words: {part.file}",
            flush=True,
        )


def _name(value: Any, file: str, at: str, column: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        fail(file, f"{at}, column {show(column)}", f"is {show(value)}", "write a text or a whole number")
    return encodable(str(value), file, f"{at}, column {show(column)}")


def _read_words(row: Row, value: Any, part: _Split, columns: Columns) -> None:
    """Puts `text`, `starts` and `ends` into a row."""
    place = f"{row['at']}, column {show(columns.text)}"
    if isinstance(value, str):
        row["text"] = encodable(value.strip(), part.file, place)
        spans = pre_tokens.words(row["text"])
        row["starts"], row["ends"] = [start for start, _ in spans], [end for _, end in spans]
    elif isinstance(value, list):
        for number, word in enumerate(value):
            where = f"{place}, word {number + 1}" if row["line"] is None else f"line {row['line'] + number}"
            if not isinstance(word, str) or not word.strip():
                fail(
                    part.file, where, f"is {show(word)}", "a word is a text that is not blank: take it and its tag out"
                )
            encodable(word, part.file, where)
        words = [word.strip() for word in value]
        row["text"] = " ".join(words)
        ends = _ends(words)
        row["starts"], row["ends"] = [end - len(word) for end, word in zip(ends, words, strict=True)], ends
    else:
        fail(part.file, place, f"is {show(value)}", "it must be a list of words, or a text")
    if not row["starts"]:
        fail(part.file, place, "has no words", "write a text or remove the row")


def _ends(words: Sequence[str]) -> list[int]:
    ends, total = [], -1
    for word in words:
        total += 1 + len(word)
        ends.append(total)
    return ends


def _read_tags(
    row: Row, text: Any, value: Any, part: _Split, columns: Columns, classes: Sequence[str] | None
) -> list[str]:
    """The names of a row's tags, one for each word."""
    place = f"{row['at']}, column {show(columns.label)}"
    value = nested.objects(value) if isinstance(text, str) else value
    if not isinstance(value, list):
        fail(part.file, place, f"is {show(value)}", "it must be a list of tags, or of spans for a text")
    if isinstance(text, str):
        return _of_spans(row, text, value, part, place)
    if len(value) != len(row["starts"]):
        fix = "give each word one tag"
        fail(part.file, place, f"has {len(value)} tags for {len(row['starts'])} words", fix)
    tags = []
    for number, tag in enumerate(value):
        if isinstance(tag, int) and not isinstance(tag, bool):
            if classes is None or not 0 <= tag < len(classes):
                fix = "write tags as texts, or name all of them in their order: data.labels"
                part.fail(row, number, f"has tag {tag}, which has no name", fix)
            tag = classes[tag]
        if not isinstance(tag, str) or not tag_schemes.is_tag(tag):
            fix = 'write "O", or a prefix and a type, as in "B-PER"'
            part.fail(row, number, f"has tag {show(tag)}, which is no tag", fix)
        tags.append(encodable(tag, part.file, place))
    return tags


def _of_spans(row: Row, text: str, spans: list[Any], part: _Split, place: str) -> list[str]:
    """IOB2 tags of character spans `{"start", "end", "label"}`, which are counted in the text as it was written."""
    offset, tags, owner = len(text) - len(text.lstrip()), ["O"] * len(row["starts"]), {}
    shape = 'write {"start": 0, "end": 5, "label": "PER"} for each, in characters, the end excluded'
    for number, span in enumerate(spans, start=1):
        at = f"{place}, span {number}"
        if not isinstance(span, dict):
            fail(part.file, at, f"is {show(span)}", shape)
        start, end, label = (span.get(key) for key in ("start", "end", "label"))
        whole = all(isinstance(value, int) and not isinstance(value, bool) for value in (start, end))
        if not whole or not isinstance(label, str) or not tag_schemes.is_tag(f"B-{label}"):
            fail(part.file, at, f"is {show(span)}", shape)
        encodable(label, part.file, at)
        if not 0 <= start < end <= len(text):
            fail(part.file, at, f"is {start}–{end} of a text of {len(text)} characters", shape)
        words = enumerate(zip(row["starts"], row["ends"], strict=True))
        covered = [i for i, (begin, stop) in words if begin + offset < end and stop + offset > start]
        if not covered:
            fail(part.file, at, f"covers no word: {show(text[start:end])}", "take it out, or correct its characters")
        if other := next((owner[i] for i in covered if i in owner), None):
            fix = "let no two spans share a word: take one out, or part the words with a space"
            fail(part.file, at, f"shares a word with span {other}: {show(text[start:end])}", fix)
        owner |= dict.fromkeys(covered, number)
        inside = text[start:end]
        first, last = start + len(inside) - len(inside.lstrip()), start + len(inside.rstrip())
        part.snapped += first != row["starts"][covered[0]] + offset or last != row["ends"][covered[-1]] + offset
        for place_in, i in enumerate(covered):
            tags[i] = f"{'I' if place_in else 'B'}-{label}"
    return tags


def _numbered(read: dict[str, _Split], classes: Sequence[str] | None) -> Tagged:
    """Finds the scheme and the classes, checks all tags by them, and turns them into numbers."""
    first = "train" if "train" in read else "selection"
    known = [row["tags"] for row in read[first].rows]
    scheme = tag_schemes.detect(known)
    names = tuple(classes) if classes else tag_schemes.classes(known)
    if tag_schemes.OUTSIDE not in names or len(names) < 2:
        fix = "give the training data words of entities and others" if classes is None else "list O and others"
        fail(read[first].file if classes is None else "params.yaml", "tags", f"are {', '.join(names)} alone", fix)
    number = {name: i for i, name in enumerate(names)}
    print(f"  tags are in scheme {scheme}, as those of {read[first].file} are", flush=True)
    for split, part in read.items():
        for row in part.rows if split != TRANSFER else ():
            if wrong := tag_schemes.fault(row["tags"], scheme):
                at, problem = wrong
                fix = f"correct it: the training tags are in scheme {scheme}"
                part.fail(row, at, f"has tag {show(row['tags'][at])}, which {problem}", fix)
            if strangers := [i for i, tag in enumerate(row["tags"]) if tag not in number]:
                strange = strangers[0]
                where = "data.labels" if classes else f"the data of {parameter(first)}"
                fix = f"correct it, or add it to {where}, which has {', '.join(names)}"
                part.fail(row, strange, f"has tag {show(row['tags'][strange])}", fix)
            row["tags"] = [number[tag] for tag in row["tags"]]
        for row in part.rows:
            del row["at"], row["line"]
    return Tagged({split: part.rows for split, part in read.items()}, names, scheme)
