"""JSON files that the pipeline has written, read back: what was damaged since is named in one line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, TypeAdapter, ValidationError

from distill.errors import UserError
from distill.runtime import json_text


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("expected a number")
    return value


#: A whole number or another one, kept as it is written.
Number = Annotated[Any, AfterValidator(_number)]
NumberOrNull = Annotated[Any, AfterValidator(lambda value: None if value is None else _number(value))]
#: Kinds of content: any names and values; names and numbers, such as scores.
MAPPING, NUMBERS = TypeAdapter(dict[str, Any]), TypeAdapter(dict[str, Number])


def read(path: Path, fix: str, kind: TypeAdapter[Any] = MAPPING) -> Any:
    """The content of a file.

    Args:
        fix: what the user does about a damaged file: "run `dvc repro`".
        kind: type of the content, checked strictly.

    Raises:
        UserError: the file is missing, cannot be read, or has other content.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: missing: {fix}") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: make it a file that can be read, or {fix}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}): {fix}") from None
    return parse(text, path, fix, kind)


def parse(text: str, source: Path | str, fix: str, kind: TypeAdapter[Any] = MAPPING) -> Any:
    """The same for the text of a file.

    Args:
        source: name of the file in errors.
    """
    if any(line.startswith(("<<<<<<< ", ">>>>>>> ")) for line in text.splitlines()):
        raise UserError(f"{source}: has the marks of a merge conflict (<<<<<<<): take one side of it, or {fix}")
    try:
        return kind.validate_python(json_text.parse(text), strict=True)
    except json_text.JsonError as error:
        raise UserError(f"{source}: {error}: {fix}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        value = " ".join(f"{first['input']!r:.50}".split())
        problem = first["msg"].removeprefix("Value error, ")
        problem = f"{problem[0].lower()}{problem[1:]}"
        raise UserError(f"{source}: {f'{field}: ' if field else ''}{value}: {problem}: {fix}") from None
