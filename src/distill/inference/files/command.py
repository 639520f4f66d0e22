"""Options `--input` and `--output` of the commands: a file of rows in, a file of answers out."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from distill.errors import UserError
from distill.inference.files import job, parts, sources
from distill.inference.model import Model
from distill.inference.verb import Verb


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a command the options for files."""
    group = parser.add_argument_group("files of rows")
    group.add_argument("--input", metavar="FILE", help=f"{', '.join(sources.SUFFIXES)}; - is stdin, with --format")
    group.add_argument("--output", metavar="FILE", help=f"{', '.join(parts.SUFFIXES)}; - is stdout, with --format")
    group.add_argument("--format", choices=["csv", "jsonl"], default="csv", help="of - (default: %(default)s)")
    group.add_argument(
        "--column", action="append", default=[], metavar="FIELD=NAME", help="the column of a field, text=review say"
    )
    group.add_argument("--id-column", default="id", metavar="NAME", help="ids to hand on (default: %(default)s)")
    group.add_argument("--delimiter", metavar="CHARACTER", help="between the cells of a CSV (default: by its header)")


def wanted(parser: argparse.ArgumentParser, options: argparse.Namespace, given: object) -> bool:
    """Whether a command is to work on files; ends it with the usage where the options say both, or half of it.

    Args:
        given: the command's first own argument.
    """
    files = options.input is not None or options.output is not None
    if files and (given is not None or options.input is None or options.output is None):
        parser.error("give --input and --output, and nothing to read beside them")
    if not files and given is None:
        parser.error("give a text, or --input and --output")
    return files


def run(verb: Verb, model: Model, path: str, options: argparse.Namespace, more: dict[str, Any]) -> None:
    """Ask a model for the rows of a file.

    Args:
        path: where the model was loaded from.
        more: options that change the answers.

    Raises:
        UserError: as `job.run`; or rows have no answer, raised after the output is written.
    """
    names = {}
    for item in options.column:
        field, equals, name = item.partition("=")
        if not equals:
            raise UserError(f"--column: {item}: give FIELD=NAME, text=review say")
        names[field] = name
    if options.delimiter is not None and len(options.delimiter) != 1:
        raise UserError(f"--delimiter: {options.delimiter!r}: give one character")
    with tempfile.TemporaryDirectory() as scratch:
        source, output = Path(options.input), Path(options.output)
        if options.input == "-":
            source = Path(scratch) / f"stdin.{options.format}"
            with source.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        if options.output == "-":
            output = Path(scratch) / f"stdout.{options.format}"
        options_of = more | {"int8": options.int8, "runtime": options.runtime}
        origin = {"model": job.model_mark(path), "options": options_of, "columns": names}
        origin |= {"id_column": options.id_column, "delimiter": options.delimiter}
        read = sources.Source(source, verb, names, options.id_column, options.delimiter)
        counts = job.run(read, model, origin, output)
        if options.output == "-":
            with output.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.flush()
    if counts.refused:
        raise UserError(
            f"{counts.refused:,} of {counts.rows:,} rows have no answer, the first of them {counts.earliest}: see"
            f" column error of {options.output}"
        )
