"""Rows of CSV, Parquet and JSON lines, read one after another: memory does not grow with the file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distill.errors import UserError
from distill.inference.verb import Verb
from distill.runtime import json_text

#: Kinds of files, by their suffix.
SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl")

_DELIMITERS = (",", ";", "\t", "|")
# Characters of a line or cell. A quotation mark that nobody closes would make a cell of the whole file.
_LONGEST = 1 << 24
_READ_ROWS = 1_024


@dataclass
class Record:
    """A row of a file.

    Attributes:
        number: its number, from 1.
        identifier: its id; its number where the file has none.
        row: its fields, by the verb's names.
        problem: why it cannot be answered; None: nothing is known that stands against it.
    """

    number: int
    identifier: Any = None
    row: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True)
class Source:
    """A file of rows.

    Attributes:
        path: the file; its suffix is one of `SUFFIXES`.
        verb: what is to be done with the rows.
        names: names of the columns, by the verb's fields; a field that is missing here has its own name.
        id_column: name of the column of ids.
        delimiter: between the cells of a CSV; None: the one among comma, semicolon, tab and bar that splits the header
            into the columns that are needed.
    """

    path: Path
    verb: Verb
    names: Mapping[str, str]
    id_column: str = "id"
    delimiter: str | None = None

    def __post_init__(self) -> None:
        if not self.path.is_file():
            raise UserError(f"{self.path}: {'is a folder' if self.path.is_dir() else 'does not exist'}: check --input")
        if self.path.suffix.lower() not in SUFFIXES:
            raise UserError(
                f"{self.path}: suffix {self.path.suffix!r}: is none of {', '.join(SUFFIXES)}: name the file so"
            )
        if strange := [name for name in self.names if name not in self.verb.fields]:
            known = ", ".join(self.verb.fields)
            raise UserError(f"--column: {strange[0]}: unknown field: known are {known}")

    def column(self, name: str) -> str:
        """The column of a field."""
        return self.names.get(name, name)

    def count(self) -> int:
        """The number of rows; reads the whole file where it does not say it.

        Raises:
            UserError: the file cannot be read to its end, or lacks a column.
        """
        if self.path.suffix.lower() == ".parquet":
            with self._parquet() as file:
                self._parquet_columns(file.schema_arrow)
                return file.metadata.num_rows
        return sum(1 for _ in self.records())

    def id_type(self) -> pa.DataType:
        """The type of the ids, as a column of Parquet."""
        if self.path.suffix.lower() == ".parquet":
            with self._parquet() as file:
                schema = file.schema_arrow
            if self.id_column in schema.names and pa.types.is_integer(schema.field(self.id_column).type):
                return schema.field(self.id_column).type
        return pa.string()

    def records(self) -> Iterator[Record]:
        """The rows, in their order.

        Raises:
            UserError: the file cannot be read to its end, or lacks a column. What is wrong with a single row is in its
                record.
        """
        read = {".parquet": self._from_parquet, ".jsonl": self._from_lines}.get(
            self.path.suffix.lower(), self._from_csv
        )
        for record in read():
            if record.problem is None:
                record.problem = self.verb.problem(record.row)
            if record.identifier is None:
                record.identifier = record.number
            yield record

    def _record(self, number: int, values: Mapping[str, Any]) -> Record:
        row = {name: values.get(self.column(name)) for name in self.verb.fields}
        row = {name: value for name, value in row.items() if value is not None}
        return Record(number, values.get(self.id_column), row)

    def _check_columns(self, present: list[str], more: str = "") -> None:
        for name, described in self.verb.fields.items():
            wanted = self.column(name)
            if wanted not in present and (described.required or name in self.names):
                there = ", ".join(name[:40] for name in present[:10])
                raise UserError(
                    f"{self.path}: has no column {wanted!r} among {there}{more}: name it by --column {name}=…"
                )

    def _parquet(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path)
        except (pa.ArrowException, OSError) as error:
            raise UserError(
                f"{self.path}: is no Parquet ({' '.join(str(error).split())[:120]}): save it again"
            ) from None

    def _parquet_columns(self, schema: pa.Schema) -> list[str]:
        self._check_columns(schema.names)
        needed = [self.column(name) for name in self.verb.fields] + [self.id_column]
        return [name for name in dict.fromkeys(needed) if name in schema.names]

    def _from_parquet(self) -> Iterator[Record]:
        number = 0
        with self._parquet() as file:
            columns = self._parquet_columns(file.schema_arrow)
            try:
                for batch in file.iter_batches(_READ_ROWS, columns=columns):
                    for values in batch.to_pylist():
                        number += 1
                        yield self._record(number, values)
            except (pa.ArrowException, OSError) as error:
                reason = " ".join(str(error).split())[:120]
                raise UserError(f"{self.path}: row {number + 1}: cannot be read ({reason}): save it again") from None

    def _from_lines(self) -> Iterator[Record]:
        number = 0
        with self.path.open("rb") as stream:
            while line := stream.readline(_LONGEST):
                if len(line) == _LONGEST:
                    raise UserError(f"{self.path}: row {number + 1}: over {_LONGEST:,} bytes: is it JSON lines?")
                line = line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
                if not line.strip():
                    continue
                number += 1
                try:
                    values = json_text.parse(line.rstrip(b"\r\n").decode())
                    if not isinstance(values, dict):
                        raise UserError("no JSON object")
                    yield self._record(number, values)
                except UnicodeDecodeError as error:
                    yield Record(number, problem=f"byte {error.start + 1}: not UTF-8 ({error.reason})")
                except (json_text.JsonError, UserError) as error:
                    yield Record(number, problem=f"no JSON ({error}): give one object a line")

    def _from_csv(self) -> Iterator[Record]:
        csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))  # csv's own limit is 131,072 characters
        # Bytes that are no UTF-8 become halves of surrogate pairs, by which the row that has them is refused.
        with self.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            delimiter, header = self._header(stream.readline(_LONGEST))
            stream.seek(0)
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            number, place = -1, 1
            while True:
                place = reader.line_num + 1  # where the row begins: a quoted value may hold line breaks
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    if "expected after" not in str(error):  # an open quotation mark: all that comes is in this cell
                        raise UserError(
                            f"{self.path}: line {place}: is malformed CSV ({error}): check its quotation marks"
                        ) from None
                    number += 1
                    yield Record(number, problem=f"line {place}: malformed CSV ({error}): check its quotation marks")
                    continue
                if not cells:
                    continue
                number += 1
                if number == 0:
                    continue
                if len(cells) != len(header):
                    problem = (
                        f"line {place}: {len(cells)} values for {len(header)} columns (separator {delimiter!r}): put"
                        " values that hold it between quotation marks, or name another by --delimiter"
                    )
                    yield Record(number, problem=problem)
                    continue
                yield self._record(number, dict(zip(header, cells, strict=True)))

    def _header(self, line: str) -> tuple[str, list[str]]:
        """The separator, and the names of the columns."""
        if "\0" in line or line.startswith(("\udcff\udcfe", "\udcfe\udcff")):
            raise UserError(f"{self.path}: is no UTF-8 (UTF-16?): save the file as UTF-8")
        if not line.strip():
            raise UserError(f"{self.path}: line 1: has no column names: begin the file with a header")
        default = "\t" if self.path.suffix.lower() == ".tsv" else ","
        required = {self.column(name) for name, described in self.verb.fields.items() if described.required}
        headers: dict[str, list[str]] = {}
        for delimiter in [self.delimiter] if self.delimiter else dict.fromkeys((default, *_DELIMITERS)):
            try:
                headers[delimiter] = next(csv.reader([line], delimiter=delimiter))
            except (csv.Error, TypeError) as error:
                raise UserError(
                    f"{self.path}: line 1: is malformed CSV ({error}), with separator {delimiter!r}"
                ) from None
        delimiter = next((d for d, names in headers.items() if required <= set(names)), next(iter(headers)))
        names = headers[delimiter]
        self._check_columns(names, f" (separator {delimiter!r}; --delimiter names another)")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UserError(f"{self.path}: line 1: names column {twice[0]!r} twice: name each column once")
        return delimiter, names


def as_text(identifier: Any) -> str:
    """An id as a text that every file can hold."""
    if isinstance(identifier, str):
        return identifier.encode("utf-8", "backslashreplace").decode()
    try:
        return json.dumps(identifier)
    except (TypeError, ValueError, RecursionError):
        return str(identifier)[:100]
