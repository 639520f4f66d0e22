"""Reading YAML as DVC reads it: version 1.2, where 1e-05 is a number and `no` is a word."""

from __future__ import annotations

import functools
import pickle
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from distill.errors import UserError

#: Values that a file may hold once its aliases are written out, and levels of nesting: params.yaml has 750 and 5.
MAX_VALUES, MAX_DEPTH = 100_000, 100


def parse(text: str, source: str | Path) -> dict[str, Any]:
    """Read a YAML mapping as plain values.

    Args:
        text: Content of the file.
        source: Name of the file in errors.

    Raises:
        UserError: The text is not valid YAML, has a key twice, is too large or too deep, or is no mapping.
    """
    try:
        values = pickle.loads(_pickled(text))
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = str(getattr(error, "problem", None) or error).partition("\n")[0].partition(" with value ")[0]
        raise UserError(f"{source}:{line} not valid YAML: {problem}: correct that line") from None
    except ValueError as error:  # a number of thousands of digits, a date such as 2024-13-41, half a surrogate pair
        raise UserError(f"{source}: not valid YAML: {error}: correct that value") from None
    if not isinstance(values, dict):
        kind = "nothing" if values is None else f"a {type(values).__name__}"
        raise UserError(f"{source}: expected sections (name: values), found {kind}: add a section")
    return values


@functools.lru_cache(maxsize=4)  # a stage, and even more a preset, reads params.yaml several times
def _pickled(text: str) -> bytes:
    _check_size(text)
    return pickle.dumps(YAML(typ="safe").load(text))


def _check_size(text: str) -> None:
    """Raises YAMLError before a few lines of nested brackets, or of aliases of aliases, fill the memory."""
    sizes, open_anchors, anchors = [0], [], {}
    for event in YAML(typ="safe").parse(text):
        if isinstance(event, AliasEvent):
            if event.anchor in open_anchors:
                raise MarkedYAMLError(problem=f"*{event.anchor} is inside of itself", problem_mark=event.start_mark)
            sizes[-1] += anchors.get(event.anchor, 1)
        elif isinstance(event, ScalarEvent):
            sizes[-1] += 1
        elif isinstance(event, CollectionStartEvent):
            sizes.append(1)
            open_anchors.append(event.anchor)
        elif isinstance(event, CollectionEndEvent):
            size = sizes.pop()
            sizes[-1] += size
            anchors[open_anchors.pop()] = size
        if len(sizes) > MAX_DEPTH or sizes[-1] > MAX_VALUES:
            limit = f"more than {MAX_DEPTH} levels" if len(sizes) > MAX_DEPTH else f"more than {MAX_VALUES:,} values"
            raise MarkedYAMLError(problem=limit, problem_mark=event.start_mark)
