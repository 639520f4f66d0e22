"""What the commands `distill.answer` and `distill.classify` share: options, which model, lines of JSON, errors."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any, TextIO

from distill.errors import UserError
from distill.inference.model import SETTINGS

#: Where stage export writes.
EXPORTS = Path("data/export")

# Inputs of one batch of a stream: enough to sort them by length, few enough to answer soon.
_LINES = 64


def parser(command: str, description: str) -> argparse.ArgumentParser:
    """A parser with the options that both commands have."""
    made = argparse.ArgumentParser(prog=f"python -m {command}", description=description)
    where = f"an exported folder, a transformers checkpoint or a hub id (default: the only one below {EXPORTS})"
    made.add_argument("--model", help=where)
    made.add_argument("--int8", action="store_true", help="the quantized model of an exported folder")
    made.add_argument("--json", action="store_true", help="print JSON")
    return made


def model_path(named: str | None) -> str:
    """The model to take: the named one, or the only one that was exported here.

    Raises:
        UserError: none is named, and there is none or more than one.
    """
    if named:
        return named
    found = sorted(path.parent.as_posix() for path in EXPORTS.glob(f"*/*/{SETTINGS}"))
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"--model: {len(found)} exported models are here: name one of {', '.join(found)}")
    raise UserError(
        f"--model: {EXPORTS} has no exported model: name a checkpoint such as data/models/distill/kd/1, or set"
        " export.methods in params.yaml and run `dvc repro`"
    )


def json_lines(stream: TextIO, needed: Sequence[str], known: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Objects from lines of JSON; empty lines are left out.

    Args:
        needed: fields that every object has, texts.
        known: fields that it may have; texts too, but for an id.

    Raises:
        UserError: a line is no such object.
    """
    for number, line in zip(count(1), stream):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"line {number}: no JSON ({error}): give one object a line") from None
        if not isinstance(row, dict):
            raise UserError(f"line {number}: no JSON object: give one object a line, with {', '.join(needed)}")
        for name in needed:
            if not isinstance(row.get(name), str):
                raise UserError(f"line {number}: {name}: {row.get(name)!r}: give a text")
            if not row[name].strip():
                raise UserError(f"line {number}: {name}: is empty: give a text")
        for name in known:
            if name != "id" and not isinstance(row.get(name, ""), str | None):
                raise UserError(f"line {number}: {name}: {row[name]!r}: give a text")
        if strange := [name for name in row if name not in (*needed, *known)]:
            raise UserError(f"line {number}: {strange[0]}: unknown field: known are {', '.join((*needed, *known))}")
        yield row


def stream(rows: Iterator[dict[str, Any]], ask: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Print an object for each row as a line of JSON, with the row's id where it has one."""
    while part := list(islice(rows, _LINES)):
        for row, found in zip(part, ask(part), strict=True):
            own = {"id": row["id"]} if "id" in row else {}
            print(json.dumps(own | found, ensure_ascii=False), flush=True)


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Run a command with the process's words; a UserError is one line and exit code 2, as of stages."""
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # `… | head` has seen enough
        sys.stderr.close()
        sys.exit(1)
