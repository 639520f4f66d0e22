"""Files of stored predictions -> records: JSON lines, CSV and Parquet, one file or a folder with several."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from distill.data.sources import text_files
from distill.data.sources.squad_json import fail, show
from distill.errors import UserError

FIELD = "teacher.predictions"
SUFFIXES = (".parquet", ".jsonl", ".csv")
#: Column of a single answer to a question; "": there is no answer.
ANSWER = "answer"


@dataclass(frozen=True)
class Record:
    """One row of a file.

    Attributes:
        file: path of the file.
        at: place in it, `line 7` or `row 7`.
        values: column → value, without columns that are null, or empty in CSV (but `ANSWER`).
        textual: whether all values are strings (CSV), so that numbers are written as text.
    """

    file: str
    at: str
    values: dict[str, Any]
    textual: bool = False

    def fail(self, field: str, problem: str, fix: str) -> NoReturn:
        """Raise a UserError that names file, row and field."""
        fail(self.file, f"{self.at}, {field}", problem, fix)

    def number(self, value: Any, field: str) -> float:
        """A finite number.

        Raises:
            UserError: it is of another type, NaN or infinite; a number as text is one in CSV only.
        """
        if isinstance(value, str) and self.textual and "_" not in value:
            with contextlib.suppress(ValueError):
                value = float(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.fail(field, f"is {show(value)}", "it must be a number")
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            self.fail(field, f"is {value}", "it must be a finite number")
        return value


def records(path: Path) -> Iterator[Record]:
    """All rows of all files, in the order of the files' names.

    Args:
        path: a file, or a folder, of which every file with one of `SUFFIXES` is read.

    Raises:
        UserError: nothing can be read there, or a file is damaged or empty.
    """
    for file in files_of(path):
        if file.suffix.lower() == ".parquet":
            yield from _parquet(file)
            continue
        textual = file.suffix.lower() == ".csv"
        for at, values in text_files.records(file, FIELD):
            yield Record(str(file), at, {k: v for k, v in values.items() if _is_there(k, v, textual)}, textual)


def _is_there(column: str, value: Any, textual: bool) -> bool:
    """CSV has no null: an empty value is none, but as an answer, where it says that there is none."""
    return value is not None and (not textual or value != "" or column == ANSWER)


def files_of(path: Path) -> list[Path]:
    """The files to read.

    Raises:
        UserError: there are none.
    """
    if not path.exists():
        raise UserError(f"params.yaml: {FIELD}: {path}: no such file or folder: name one of {', '.join(SUFFIXES)}")
    if not path.is_dir():
        if path.suffix.lower() not in SUFFIXES:
            fail(str(path), "file", f"has the suffix {show(path.suffix)}", f"name a file with {', '.join(SUFFIXES)}")
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
    if not found:
        fail(str(path), "folder", "has no file to read", f"put files with {', '.join(SUFFIXES)} into it")
    return found


def _parquet(path: Path) -> Iterator[Record]:
    number = 0
    try:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        maps = [field.name for field in file.schema_arrow if pa.types.is_map(field.type)]
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            fail(str(path), "schema", f"names column {show(twice[0])} twice", "name each column once")
        for batch in file.iter_batches():
            for values in batch.to_pylist():
                values |= {name: dict(values[name]) for name in maps if values[name] is not None}
                yield Record(str(path), f"row {number}", {k: v for k, v in values.items() if v is not None})
                number += 1
    except (pa.ArrowException, OSError) as error:
        fail(str(path), "file", f"cannot be read ({' '.join(str(error).split())[:200]})", "write it again as Parquet")
    if not number:
        fail(str(path), "file", "has no rows", "add rows, or remove the file")
