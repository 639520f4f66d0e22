"""Reading YAML as DVC reads it: version 1.2, where 1e-05 is a number and `no` is a word."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from distill.errors import UserError

#: Values that a file may hold once its aliases are written out, and levels of nesting: params.yaml has 750 and 5.
MAX_VALUES, MAX_DEPTH = 100_000, 100


# ruamel.yaml reads version 1.2, but only in pure Python: 80 ms for params.yaml, in every stage. libyaml takes 3 ms, and
# what version 1.2 changes in plain words is all below. tests/config/test_reading.py compares the two.
class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    def construct_int(self, node: yaml.ScalarNode) -> int:
        text = self.construct_scalar(node).replace("_", "")
        digits = text.lstrip("+-")
        base = {"0b": 2, "0o": 8, "0x": 16}.get(digits[:2], 10)
        return int(digits[2:] if base != 10 else digits, base) * (-1 if text[0] == "-" else 1)

    def construct_float(self, node: yaml.ScalarNode) -> float:
        text = self.construct_scalar(node).replace("_", "").lower()
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in names:
                raise yaml.MarkedYAMLError(problem=f"duplicate key {key.value!r}", problem_mark=key.start_mark)
            names.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in ("bool", "int", "float")]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
for _kind, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    (
        "float",
        r"[-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|[-+]?\.[0-9][0-9_]*([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("int", r"[-+]?(0b[01_]*[01]|0o[0-7_]*[0-7]|0x[0-9a-fA-F_]*[0-9a-fA-F]|[0-9][0-9_]*)", "-+0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_float)


def parse(text: str, source: str | Path) -> dict[str, Any]:
    """Read a YAML mapping as plain values.

    Args:
        text: Content of the file.
        source: Name of the file in errors.

    Raises:
        UserError: The text is not valid YAML, has a key twice, is too large or too deep, or is no mapping.
    """
    try:
        _check_size(text)
        values = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).partition("\n")[0]
        raise UserError(f"{source}:{line} not valid YAML: {problem}: correct that line") from None
    except ValueError as error:  # a number of thousands of digits, a date such as 2024-13-41, half a surrogate pair
        raise UserError(f"{source}: not valid YAML: {error}: correct that value") from None
    if not isinstance(values, dict):
        kind = "nothing" if values is None else f"a {type(values).__name__}"
        raise UserError(f"{source}: expected sections (name: values), found {kind}: add a section")
    return values


def _check_size(text: str) -> None:
    """Raises YAMLError before a few lines of nested brackets or aliases of aliases fill the memory."""
    open_sizes, anchors, anchored = [0], {}, []
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in anchored:
                raise yaml.MarkedYAMLError(
                    problem=f"*{event.anchor} is inside of itself", problem_mark=event.start_mark
                )
            open_sizes[-1] += anchors.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            open_sizes[-1] += 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_sizes.append(1)
            anchored.append(event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            size = open_sizes.pop()
            open_sizes[-1] += size
            anchors[anchored.pop()] = size
        if len(open_sizes) > MAX_DEPTH or open_sizes[-1] > MAX_VALUES:
            limit = (
                f"more than {MAX_DEPTH} levels" if len(open_sizes) > MAX_DEPTH else f"more than {MAX_VALUES:,} values"
            )
            raise yaml.MarkedYAMLError(problem=limit, problem_mark=event.start_mark)
