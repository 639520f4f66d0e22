"""Lines of JSON from stdin, answered as they come: each is answered, or refused, by itself.

A line that is refused gets a line of its own among the answers, `{"id": …, "error": "line 501: text: is empty: …"}`:
the n-th line of the output belongs to the n-th line of the input, empty ones left out.
"""

from __future__ import annotations

import io
import json
import os
import reprlib
import select
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TextIO

from distill.errors import UserError
from distill.runtime import json_text

Rows = list[dict[str, Any]]

# Inputs of one batch: enough to sort them by length, few enough to answer soon.
_LINES = 64
# Seconds without input after which what has come is answered: whoever sends one line and waits is not kept waiting.
_PAUSE = 0.05
# How an error of a question or a text that was asked alone begins: the line's number says more.
_ALONE = ("question 1: ", 'question "1": ', "text 1: ", "query 1: ")


@dataclass
class Line:
    """A line of the input.

    Attributes:
        number: its number, from 1.
        row: its fields; none where it is refused.
        identifier: `{"id": …}` where it has a usable id.
        problem: why it is refused; None where it is not.
    """

    number: int
    row: dict[str, Any] = field(default_factory=dict)
    identifier: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


#: Name of a field that is no text → function that raises a UserError where its value cannot be read.
Checks = Mapping[str, Callable[[Any], None]]


def answer(
    stream: TextIO,
    required: Sequence[str],
    optional: Sequence[str],
    ask: Callable[[Rows], list[dict[str, Any]]],
    further: Checks = MappingProxyType({}),
) -> None:
    """Prints an object for each line of a stream, with the line's id where it has one.

    Args:
        stream: lines of JSON objects; empty lines are left out.
        required: names of fields that every object has; their values are texts.
        optional: names of fields that an object may have besides `id`; texts or null.
        ask: function from rows to as many objects. It raises a UserError where it cannot answer one of them; each is
            then asked alone, in the end.
        further: checks of the fields that every object has besides and that are no texts, by name.

    Raises:
        UserError: lines were refused; raised after the last line.
    """
    total, refused = 0, []
    for block in blocks(stream):
        lines = [parse(number, line, required, optional, further) for number, line in block]
        good = [line for line in lines if line.problem is None]
        results = iter(ask_each([line.row for line in good], ask))
        for line in lines:
            content = next(results) if line.problem is None else UserError(line.problem)
            if isinstance(content, UserError):
                line.problem = str(content)
                refused.append(f"line {line.number}: {line.problem}")
                content = {"error": refused[-1]}
            print(_printable(line.identifier | content), flush=True)
        total += len(lines)
    if refused:
        raise UserError(f"{len(refused):,} of {total:,} lines have no answer, the first of them {refused[0]}")


def blocks(stream: TextIO, size: int = _LINES, pause: float = _PAUSE) -> Iterator[list[tuple[int, bytes]]]:
    """Numbers and contents of lines, empty ones left out, as they come: a block ends where the input pauses.

    Args:
        stream: where lines come from; its file descriptor is read, where it has one.
        size: most lines in a block.
        pause: seconds without input after which a block is as long as it is.
    """
    number, lines, rest = 0, [], bytearray()

    def ended(parts: list[bytes]) -> None:
        nonlocal number
        for part in parts:
            number += 1
            if part.strip():
                lines.append((number, bytes(part)))

    for chunk in _chunks(stream, pause):
        if b"\n" in chunk:
            head, *whole = chunk.split(b"\n")
            ended([bytes(rest) + head, *whole[:-1]])
            rest = bytearray(whole[-1])
        else:
            rest += chunk
        while len(lines) >= size or (lines and not chunk):
            yield lines[:size]
            del lines[:size]
    ended([bytes(rest)])
    if lines:
        yield lines


def parse(
    number: int, line: bytes, required: Sequence[str], optional: Sequence[str], further: Checks = MappingProxyType({})
) -> Line:
    """A line as an object, or what is wrong with it. Arguments as for `answer`."""
    parsed = Line(number)
    try:
        row = json_text.parse(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        if not isinstance(row, dict):
            raise UserError(f"no JSON object: give one object a line, with {', '.join((*required, *further))}")
        if "id" in row:
            parsed.identifier = {"id": _handed_on(row["id"])}
        _check(row, required, optional, further)
        parsed.row = row
    except UnicodeDecodeError as error:
        parsed.problem = f"byte {error.start + 1}: not UTF-8 ({error.reason}): save the input as UTF-8"
    except json_text.JsonError as error:
        parsed.problem = f"no JSON ({error}): give one object a line, or a CSV by --input"
    except UserError as error:
        parsed.problem = str(error)
    return parsed


def text_problem(text: str) -> str | None:
    """What is wrong with a text that is to be read; None where nothing is."""
    if not text.strip():
        return "is empty"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"holds half a surrogate pair, or a byte that is not UTF-8, at character {error.start}"
    return None


def _check(row: dict[str, Any], required: Sequence[str], optional: Sequence[str], further: Checks) -> None:
    for name in (*required, *optional):
        value = row.get(name)
        if value is None and name in optional:
            continue
        if not isinstance(value, str):
            raise UserError(f"{name}: {reprlib.repr(value) if name in row else 'is missing'}: give a text")
        if problem := text_problem(value):
            raise UserError(f"{name}: {problem}: give a text")
    for name, check in further.items():
        check(row.get(name))
    known = (*required, *optional, *further, "id")
    if strange := [name for name in row if name not in known]:
        raise UserError(f"{strange[0][:60]}: unknown field: known are {', '.join(known)}")


def _handed_on(identifier: Any) -> Any:
    """An id, after checking that it can be written as JSON: it may be NaN, or nested deep."""
    try:
        json.dumps(identifier, allow_nan=False)
    except (ValueError, RecursionError):
        raise UserError("id: is or holds a number that JSON does not have, or is nested deep: give a text") from None
    return identifier


def ask_each(rows: Rows, ask: Callable[[Rows], Rows]) -> list[dict[str, Any] | UserError]:
    """The results of rows; of those that cannot be answered, the error.

    Args:
        ask: function from rows to as many results, which raises a UserError where it cannot answer one of them: then
            it is asked for each half, until the row is alone.
    """
    if not rows:
        return []
    try:
        return list(ask(rows))
    except UserError as error:
        if len(rows) > 1:
            middle = len(rows) // 2
            return ask_each(rows[:middle], ask) + ask_each(rows[middle:], ask)
        problem = str(error)
        for beginning in _ALONE:
            problem = problem.removeprefix(beginning)
        return [UserError(problem)]


def _printable(content: dict[str, Any]) -> str:
    """An object as a line of JSON; escaped where stdout cannot write its characters, half a surrogate pair say."""
    line = json.dumps(content, ensure_ascii=False, allow_nan=False)
    try:
        line.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(content, allow_nan=False)
    return line


def _chunks(stream: TextIO, pause: float) -> Iterator[bytes]:
    """The input's bytes as they come; b"" where it has paused."""
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:  # a stream in memory
        yield stream.read().encode("utf-8", "surrogatepass")
        return
    timeout = None
    while True:
        if not select.select([descriptor], [], [], timeout)[0]:
            yield b""
            timeout = None  # nothing is left to be answered
            continue
        chunk = os.read(descriptor, 1 << 16)
        if not chunk:
            return
        yield chunk
        timeout = pause
