"""Files of texts with labels -> records, with every value checked on the way: TSV, CSV and JSON lines.

TSV is GLUE's: every tab separates two values, and a quotation mark is a character like any other. CSV is
RFC 4180's, with quotes. JSON lines has one object per line, with column names as keys.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill.data.sources.squad_json import fail, show
from distill.runtime import json_text

Record = tuple[str, dict[str, Any]]
SUFFIXES = (".tsv", ".csv", ".jsonl", ".json")
# What separates columns in files that this project reads otherwise.
_SEPARATORS = ("\t", ";", "|", ",")


def records(path: Path, field: str) -> Iterator[Record]:
    """Reads a file record by record.

    Args:
        path: UTF-8 file, whose suffix tells the format.
        field: name of the parameter that holds the path, for error messages.

    Yields:
        (place such as "line 7", column → value). Values are strings, in JSON lines anything.

    Raises:
        UserError: no such file, another suffix, not UTF-8, a NUL byte, no header, a column named twice, a row of too
            many or too few values, malformed JSON, or no rows.
    """
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        fail(str(path), "file", problem, f"check {field}")
    if path.suffix.lower() not in SUFFIXES:
        fail(str(path), "file", f"has the suffix {show(path.suffix)}", f"name a file with {', '.join(SUFFIXES)}")
    content = _decoded(path)
    parsed = (_json_lines if "json" in path.suffix.lower() else _table)(content, path)
    empty = True
    for record in parsed:
        yield record
        empty = False
    if empty:
        fail(str(path), "file", "has no rows", "add examples")


def _decoded(path: Path) -> str:
    raw = path.read_bytes()
    if (nul := raw.find(b"\0")) >= 0:
        line = raw.count(b"\n", 0, nul) + 1
        fail(str(path), f"line {line}", "holds a NUL byte", "remove it, or save the file as UTF-8 text")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        fail(str(path), f"line {line}", f"is not UTF-8 ({error.reason})", "save the file as UTF-8")


def _lines(content: str) -> list[str]:
    """Lines as editors count them: str.splitlines would also split at characters that texts may hold (U+2028)."""
    return [line.removesuffix("\r") for line in content.rstrip("\r\n").split("\n")]


def _table(content: str, path: Path) -> Iterator[Record]:
    rows = _tsv(content) if path.suffix.lower() == ".tsv" else _csv(content, path)
    _, header = next(rows, (1, []))
    if not any(name.strip() for name in header):
        fail(str(path), "line 1", "has no column names", "begin the file with a header")
    if len(header) == 1 and (other := next((mark for mark in _SEPARATORS if mark in header[0]), None)):
        used = "tabs" if path.suffix.lower() == ".tsv" else "commas"
        fix = f"separate the columns by {used}" + (", or name the file .tsv" if other == "\t" else "")
        fail(str(path), "line 1", f"has one column, {show(header[0])}: its separator seems to be {show(other)}", fix)
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        fail(str(path), "line 1", f"names column {show(twice[0])} twice", "name each column once")
    for line, values in rows:
        if len(values) != len(header):
            fix = "make every row as long as the header"
            fail(str(path), f"line {line}", f"has {len(values)} values for {len(header)} columns", fix)
        yield f"line {line}", dict(zip(header, values, strict=True))


def _tsv(content: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(_lines(content), start=1):
        yield number, line.split("\t")


def _csv(content: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(max(csv.field_size_limit(), len(content)))  # csv's own limit is 131,072 characters
    reader = csv.reader(io.StringIO(content.rstrip("\r\n"), newline=""), strict=True)
    while True:
        line = reader.line_num + 1  # where the row begins: a quoted value may hold line breaks
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fail(str(path), f"line {line}", f"is malformed CSV ({error})", "check its quotation marks")


def _json_lines(content: str, path: Path) -> Iterator[Record]:
    for number, line in enumerate(_lines(content) if content.strip() else (), start=1):
        at = f"line {number}"
        try:
            record = json_text.parse(line)
        except json_text.JsonError as error:
            if error.column is None:
                fail(str(path), at, error.problem, "correct that line")
            fail(str(path), f"{at}, column {error.column}", error.problem, "write one JSON object per line")
        if not isinstance(record, dict):
            fail(str(path), at, f"is {show(record)}, not an object", 'write {"column": value, …} on each line')
        yield at, record
