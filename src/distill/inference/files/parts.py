"""The output of a long job as parts: what was answered before the job was killed is not answered again.

`out.csv.parts/` stands beside `out.csv` while the job runs: `job.json` says what the parts are made from, `00000.csv`
has the answers of the first rows, and `00000.json`, written after it, their counts: a part without it is not whole and
is made again. Parts begin at the same rows in every run, so the output has the same bytes however often it was stopped.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from distill.errors import UserError
from distill.inference.files.sources import as_text
from distill.runtime import csv_files
from distill.runtime.files import publish, write_text

#: Kinds of output, by their suffix.
SUFFIXES = (".csv", ".parquet", ".jsonl")


@dataclass(frozen=True)
class Counts:
    """Of a part, or of parts: rows, rows without an answer, and what the earliest of these says."""

    rows: int = 0
    refused: int = 0
    earliest: str | None = None

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.rows + other.rows, self.refused + other.refused, self.earliest or other.earliest)


class Parts:
    """The parts of an output.

    Args:
        output: the file that the parts become.
        origin: what the parts are made from, as JSON; parts of another origin are refused.
        columns: columns of the output, name → type.

    Raises:
        UserError: another suffix, parts of another origin, or another process is writing them.
    """

    def __init__(self, output: Path, origin: Mapping[str, Any], columns: Mapping[str, pa.DataType]) -> None:
        if output.suffix.lower() not in SUFFIXES:
            raise UserError(f"{output}: suffix {output.suffix!r}: is none of {', '.join(SUFFIXES)}: name --output so")
        self.output, self.schema = output, pa.schema(list(columns.items()))
        self.folder = output.with_name(f"{output.name}.parts")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.folder / "lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"{self.folder}: another process is writing it: wait, or name another --output") from None
        described, job = json.dumps(origin, indent=2, sort_keys=True) + "\n", self.folder / "job.json"
        if not job.exists():
            write_text(job, described)
        elif (before := job.read_text(encoding="utf-8")) != described:
            self._lock.release()
            changed = _changed(before, origin)
            raise UserError(
                f"{self.folder}: was made with another {changed}: remove it to begin again, or name the same"
            )

    def whole(self) -> list[Counts]:
        """The counts of the parts that are whole, from the beginning of the input."""
        counts: list[Counts] = []
        while (path := self._path(len(counts), ".json")).is_file():
            counts.append(Counts(**json.loads(path.read_text(encoding="utf-8"))))
        return counts

    def write(self, number: int, rows: Sequence[Mapping[str, Any]], counts: Counts) -> None:
        """Write a part: values by the names of the columns, null where a row lacks one."""
        path = self._path(number, self.output.suffix.lower())
        new = path.with_name(f"new{path.suffix}")
        if path.suffix == ".csv":
            header = self.schema.names if number == 0 else None
            cells = ([row.get(name) for name in self.schema.names] for row in rows)
            csv_files.write_rows(header, cells, new, exact=True)
        elif path.suffix == ".jsonl":
            with new.open("w", encoding="utf-8", newline="") as file:
                for row in rows:
                    values = {name: row[name] for name in self.schema.names if row.get(name) is not None}
                    file.write(json.dumps(values, ensure_ascii=False) + "\n")
        else:
            arrays = [pa.array([row.get(field.name) for row in rows], field.type) for field in self.schema]
            pq.write_table(pa.Table.from_arrays(arrays, schema=self.schema), new)
        os.replace(new, path)
        write_text(self._path(number, ".json"), json.dumps(asdict(counts)))

    def join(self, count: int) -> None:
        """Make the output of the first `count` parts, and remove them."""
        suffix = self.output.suffix.lower()
        joined = self.folder / f"joined{suffix}"
        parts = [self._path(number, suffix) for number in range(count)]
        if suffix == ".parquet":
            with pq.ParquetWriter(joined, self.schema) as writer:
                for part in parts:  # a row group each
                    writer.write_table(pq.read_table(part, schema=self.schema))
        else:
            with joined.open("wb") as file:
                for part in parts:
                    with part.open("rb") as content:
                        shutil.copyfileobj(content, file)
        publish(joined, self.output)
        shutil.rmtree(self.folder)

    def release(self) -> None:
        """Let other processes have the parts."""
        self._lock.release()

    def _path(self, number: int, suffix: str) -> Path:
        return self.folder / f"{number:05d}{suffix}"


def identifier_of(value: Any, kind: pa.DataType, suffix: str) -> Any:
    """An id as a value of the output's column: JSON lines hold it as it came."""
    if pa.types.is_integer(kind) or (suffix == ".jsonl" and isinstance(value, int)):
        return value
    return as_text(value)


def _changed(before: str, origin: Mapping[str, Any]) -> str:
    try:
        known = dict(json.loads(before))
    except (ValueError, TypeError):
        return "program (job.json is damaged)"
    return next((name for name in origin if known.get(name) != origin[name]), "program")
