"""Change values inside a YAML text and nothing else: comments, order, quotes and spacing stay.

A YAML library's own round trip rewrites the whole file (line breaks, spaces, the style of lists).
Here the parser only tells where each old value begins and ends, and the new one is written there.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from distill.errors import UserError

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
# Words that some YAML version, or Hydra, reads as something other than text.
RESERVED = {"true", "false", "yes", "no", "on", "off", "y", "n", "null", "none", "nan", "inf"}


def parse(text: str, source: str | Path) -> dict[str, Any]:
    """Read a YAML 1.2 mapping (where 1e-5 is a number); `source` names it in errors.

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
        found = "nothing" if values is None else f"a {type(values).__name__}"
        raise UserError(f"{source}: expected sections (name: values), found {found}: add a section")
    return values


def literal(value: Any, quote: Callable[[str], str] | None = None) -> str:
    """`value` on one line in YAML's flow style, e.g. ``[a, {b: 1.0e-05}]``.

    Floats get a point, because YAML 1.1 readers (PyYAML) take 1e-05 for text.

    Args:
        value: text, number, bool, None, or lists and mappings of those.
        quote: how to write text that cannot stand bare; the default is JSON's way.

    Raises:
        UserError: the value is of another type (a date, for instance), or not finite.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))
    if isinstance(value, str):
        if PLAIN.fullmatch(value) and value.lower() not in RESERVED:
            return value
        return quote(value) if quote else json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "[" + ", ".join(literal(item, quote) for item in value) + "]"
    if isinstance(value, Mapping):
        pairs = (f"{literal(key, quote)}: {literal(item, quote)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    kind = type(value).__name__
    raise UserError(f"{value}: a {kind} cannot be a parameter: put text in quotes, give finite numbers")


def replace(text: str, values: Mapping[tuple[str, ...], Any]) -> str:
    """Write new values in place of old ones.

    Args:
        text: a YAML mapping.
        values: path of keys to new value, as ``{("ted", "mse_alpha"): 100}``. Every path must exist
            in `text`, and none may lie inside another.

    Returns:
        The text with those values changed. A block that is replaced becomes one line; comments
        inside it go.

    Raises:
        KeyError: a path is not in `text`.
    """
    root = YAML(typ="safe", pure=True).compose(text)
    edits = [_edit(text, *_find(root, path), literal(value)) for path, value in values.items()]
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _find(node: Node, path: tuple[str, ...]) -> tuple[Node, Node]:
    """The nodes of the last key of `path` and of its value."""
    key = None
    for name in path:
        pairs = node.value if isinstance(node, MappingNode) else []
        key, node = next(((k, v) for k, v in pairs if k.value == name), (None, None))
        if node is None:
            raise KeyError(".".join(path))
    return key, node


def _edit(text: str, key: Node, old: Node, new: str) -> tuple[int, int, str]:
    """Where to cut (start, end) and what to put there."""
    colon = text.index(":", key.end_mark.index) + 1
    start, end = old.start_mark.index, _end(text, old)
    if start == end:
        start = end = colon  # no value after the key: the parser's mark is at whatever follows
        new = f" {new}"
    elif old.start_mark.line != key.end_mark.line:
        # A block below the key: the value goes to the key's line, before the comment there.
        rest = text[colon:].partition("\n")[0]
        if comment := rest.strip():
            comment = " " * max(rest.index("#") - len(new) - 1, 2) + comment
        last_line = text[end:].partition("\n")[0]
        return colon, end + len(last_line), f" {new}{comment}"
    gap = re.match(r" +(?=#)", text[end:])
    if gap is None or "\n" in text[start:end]:
        return start, end, new
    # The comment behind the value keeps its column where there is room.
    width = max(len(gap[0]) + (end - start) - len(new), min(len(gap[0]), 2))
    return start, end + len(gap[0]), new + " " * width


def _end(text: str, node: Node) -> int:
    """Index after the node's last character: behind a block, the parser's mark is past comments."""
    if isinstance(node, ScalarNode) or node.flow_style or not node.value:
        start, end = node.start_mark.index, node.end_mark.index
        return start + len(text[start:end].rstrip())
    last = node.value[-1]
    return _end(text, last[1] if isinstance(node, MappingNode) else last)
