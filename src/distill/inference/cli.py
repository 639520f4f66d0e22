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
    built = argparse.ArgumentParser(prog=f"python -m {command}", description=description)
    where = f"an exported folder, a transformers checkpoint or a hub id (default: the only one below {EXPORTS})"
    built.add_argument("--model", help=where)
    built.add_argument("--int8", action="store_true", help="the quantized model of an exported folder")
    built.add_argument("--json", action="store_true", help="print JSON")
    return built


def model_path(option: str | None) -> str:
    """The model to load: that of option --model, or the only one that was exported here.

    Raises:
        UserError: the option is not given, and there is no exported model or more than one.
    """
    if option:
        return option
    exported = sorted(path.parent.as_posix() for path in EXPORTS.glob(f"*/*/{SETTINGS}"))
    if len(exported) == 1:
        return exported[0]
    if exported:
        raise UserError(f"--model: {len(exported)} exported models are here: name one of {', '.join(exported)}")
    raise UserError(
        f"--model: {EXPORTS} has no exported model: name a checkpoint such as data/models/distill/kd/1, or set"
        " export.methods in params.yaml and run `dvc repro`"
    )


def json_lines(stream: TextIO, required: Sequence[str], optional: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Objects from lines of JSON; empty lines are left out.

    Args:
        required: names of fields that every object has; their values are texts.
        optional: names of fields that an object may have; texts too, but for `id`.

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
            raise UserError(f"line {number}: no JSON object: give one object a line, with {', '.join(required)}")
        for name in required:
            if not isinstance(row.get(name), str):
                raise UserError(f"line {number}: {name}: {row.get(name)!r}: give a text")
            if not row[name].strip():
                raise UserError(f"line {number}: {name}: is empty: give a text")
        for name in optional:
            if name != "id" and not isinstance(row.get(name, ""), str | None):
                raise UserError(f"line {number}: {name}: {row[name]!r}: give a text")
        known = (*required, *optional)
        if strange := [name for name in row if name not in known]:
            raise UserError(f"line {number}: {strange[0]}: unknown field: known are {', '.join(known)}")
        yield row


def stream(rows: Iterator[dict[str, Any]], ask: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Print an object for each row as a line of JSON, with the row's id where it has one."""
    while part := list(islice(rows, _LINES)):
        for row, answer in zip(part, ask(part), strict=True):
            identifier = {"id": row["id"]} if "id" in row else {}
            print(json.dumps(identifier | answer, ensure_ascii=False), flush=True)


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Run a command with the process's arguments; a UserError is one line and exit code 2, as in stages."""
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # `… | head` has seen enough
        sys.stderr.close()
        sys.exit(1)
