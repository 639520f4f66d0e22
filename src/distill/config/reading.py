"""Reading YAML as DVC reads it: version 1.2, where 1e-05 is a number and `no` is a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from distill.errors import UserError


def parse(text: str, source: str | Path) -> dict[str, Any]:
    """Read a YAML mapping as plain values.

    Args:
        text: the file's content.
        source: name of the file in errors.

    Raises:
        UserError: the text is not valid YAML, has a key twice, or is no mapping.
    """
    try:
        values = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise UserError(f"{source}:{line} not valid YAML: {problem}: correct that line") from None
    if not isinstance(values, dict):
        kind = "nothing" if values is None else f"a {type(values).__name__}"
        raise UserError(f"{source}: expected sections (name: values), found {kind}: add a section")
    return values
