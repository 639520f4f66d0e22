"""Files in columns, as of CoNLL 2003: a word on each line, first its text, last its tag; sentences between blank lines.

Columns are parted by tabs, or by spaces where a line has no tab; those between the first and the last are not read.
Lines of `-DOCSTART-` part documents and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from distill.data.sources import text_files
from distill.data.sources.squad_json import fail, show

SUFFIXES = (".conll", ".txt", ".tsv")
_DOCUMENT = "-DOCSTART-"


def sentences(path: Path, field: str, tagged: bool) -> Iterator[tuple[int, list[str], list[str]]]:
    """Reads a file sentence by sentence.

    Args:
        path: UTF-8 file.
        field: name of the parameter that holds the path, for error messages.
        tagged: whether lines have tags; without, only the first column is read.

    Yields:
        (number of the sentence's first line, from 1; its words; their tags, none without `tagged`)

    Raises:
        UserError: no such file, not UTF-8, a line of one column where tags are read, or no sentence.
    """
    if not path.is_file():
        fail(str(path), "file", "is a folder" if path.is_dir() else "does not exist", f"check {field}")
    first, words, tags, empty = 0, [], [], True
    for number, line in enumerate([*text_files.plain_lines(path), ""], start=1):
        columns = line.split("\t") if "\t" in line else line.split()
        if not line.strip() or columns[0] == _DOCUMENT:
            if words:
                yield first, words, tags
                empty = False
            words, tags = [], []
            continue
        if tagged and len(columns) < 2:
            fix = "write the word first and its tag last, with a tab or a space between"
            fail(str(path), f"line {number}", f"is {show(line)}: it has one column", fix)
        first = first if words else number
        words.append(columns[0].strip())
        if tagged:
            tags.append(columns[-1].strip())
    if empty:
        fail(str(path), "file", "has no sentences", "add some: a word and its tag on each line")
