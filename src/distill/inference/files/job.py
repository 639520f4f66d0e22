"""A model asked for every row of a file: in constant memory, part by part, so that it can be stopped and goes on."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from distill.errors import UserError
from distill.inference.files.parts import Counts, Parts, identifier_of
from distill.inference.files.sources import Record, Source
from distill.inference.lines import ask_each
from distill.inference.model import Model
from distill.inference.verb import Verb
from distill.runtime.files import file_hash, tree_hash
from distill.runtime.progress import bar

#: Rows of a part: minutes of a small model's work on a CPU.
PART_ROWS = 4_096
# Rows that are asked at once: enough to sort them by length.
_BLOCK = 256


def run(source: Source, model: Model, origin: dict[str, Any], output: Path, part_rows: int = PART_ROWS) -> Counts:
    """Ask a model for every row of a file, or for those that an earlier run, which was stopped, has left.

    Args:
        source: the file, with the verb that asks.
        origin: what else decides about the answers (the model, options), as JSON.
        output: the file of answers (`parts.SUFFIXES`): the id, or the row's number; the verb's columns; `error`, which
            says why a row has no answer.
        part_rows: rows of a part.

    Raises:
        UserError: a file cannot be read or written, or the model is one for another verb. Rows that cannot be answered
            raise nothing.
    """
    verb = source.verb
    if model.settings.task not in verb.tasks:
        raise UserError(f"--model: is one for {model.settings.task}: distill.{verb.name} takes {', '.join(verb.tasks)}")
    if output.resolve() == source.path.resolve():
        raise UserError(f"{output}: is --input: name another file by --output")
    try:
        total = source.count()
        origin = {"input": file_hash(source.path), "part_rows": part_rows} | origin
        columns = {"id": source.id_type()} | verb.columns(model.settings) | {"error": pa.string()}
        parts = Parts(output, origin, columns)
        try:
            return _answered(source, model, parts, total, part_rows)
        finally:
            parts.release()
    except OSError as error:
        name = error.filename or output
        raise UserError(f"{name}: {error.strerror or error}: mend it and run again: whole parts are kept") from error


def _answered(source: Source, model: Model, parts: Parts, total: int, part_rows: int) -> Counts:
    whole = parts.whole()
    counts = sum(whole, Counts())
    records = source.records()
    next(islice(records, counts.rows, counts.rows), None)
    number = len(whole)
    with bar(total, source.verb.name, counts.rows, "row") as progress:
        while counts.rows < total or number == 0:  # a file without rows has one part: the header
            rows: list[dict[str, Any]] = []
            part = Counts()
            while len(rows) < part_rows and (block := list(islice(records, min(_BLOCK, part_rows - len(rows))))):
                cells, added = _block(source.verb, model, block)
                for record, values in zip(block, cells, strict=True):
                    identifier = identifier_of(record.identifier, parts.schema.field("id").type, parts.output.suffix)
                    rows.append({"id": identifier} | values)
                part += added
                progress.update(len(block))
            parts.write(number, rows, part)
            number, counts = number + 1, counts + part
    parts.join(number)
    return counts


def _block(verb: Verb, model: Model, block: list[Record]) -> tuple[list[dict[str, Any]], Counts]:
    good = [record.row for record in block if record.problem is None]
    results = iter(ask_each(good, lambda rows: verb.ask(model, rows)))
    cells, refused, earliest = [], 0, None
    for record in block:
        result = next(results) if record.problem is None else UserError(record.problem)
        if isinstance(result, UserError):
            refused += 1
            earliest = earliest or f"row {record.number}: {result}"
            cells.append({"error": str(result)})
        else:
            cells.append(verb.cells(result))
    return cells, Counts(len(block), refused, earliest)


def model_mark(path: str) -> str:
    """What a model is known by: the content of its folder, or the hub's id."""
    return tree_hash(Path(path)) if Path(path).exists() else path
