"""Changing values in params.yaml: the text is as DVC writes it, so that one change is one line.

ruamel.yaml's round trip, as DVC uses it, keeps comments and order. Three things are done by hand: floats get a point,
because YAML 1.1 takes 1e-05 for text; a new value goes before its section's last, behind which the comments of the next
section hang; and such comments of a removed item move to the item before it.
"""

from __future__ import annotations

import functools
import io
import json
import math
import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from distill.errors import UserError

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
# Words that some YAML version, or Hydra, reads as something other than text.
RESERVED = {"true", "false", "yes", "no", "on", "off", "y", "n", "null", "none", "nan", "inf"}


class _Representer(RoundTripRepresenter):
    def represent_float(self, data: float) -> ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:float", _number(data))


_Representer.add_representer(float, _Representer.represent_float)


def _number(value: float) -> str:
    return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))


def literal(value: Any, quote: Callable[[str], str] | None = None) -> str:
    """`value` on one line in YAML's flow style, e.g. ``[a, {b: 1.0e-05}]``.

    Floats get a point, because YAML 1.1 readers (PyYAML) take 1e-05 for text.

    Args:
        value: text, number, bool, None, or lists and mappings of those.
        quote: function that quotes text which cannot stand bare; by default as JSON does.

    Raises:
        UserError: the value is of another type (a date, for instance), or not finite.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return _number(value)
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


def replace(text: str, values: Mapping[tuple[str, ...], Any], removed: Iterable[tuple[str, ...]] = ()) -> str:
    """Set values, and remove some.

    Args:
        text: a YAML mapping.
        values: path of keys to value, as ``{("ted", "mse_alpha"): 100}``. The last key of a path may be new.
        removed: paths of keys to remove.

    Returns:
        The text with those values changed. Comments inside a list or mapping that is replaced go.

    Raises:
        KeyError: `text` lacks the section of a path, or a key that is to be removed.
    """
    if not values and not (removed := list(removed)):
        return text
    data = pickle.loads(_pickled(text))
    for path, value in values.items():
        section = _section(data, path)
        if path[-1] in section or len(path) == 1 or not section:
            section[path[-1]] = value
            # Where a list stood, the comment on the key's line is marked as one before an item: no item may come.
            if comment := section.ca.items.get(path[-1]):
                comment[3] = None
        else:
            section.insert(len(section) - 1, path[-1], value)
    for path in removed:
        section = _section(data, path)
        if path[-1] not in section:
            raise KeyError(".".join(path))
        _remove(section, path[-1])
    yaml, stream = YAML(), io.StringIO()
    yaml.Representer = _Representer
    yaml.dump(data, stream)
    return stream.getvalue()


@functools.lru_cache(maxsize=4)  # ruamel's parser takes 0.1 s for params.yaml, and sweeps change the same text often
def _pickled(text: str) -> bytes:
    return pickle.dumps(YAML().load(text))


def _section(data: CommentedMap, path: tuple[str, ...]) -> CommentedMap:
    """The mapping that holds the last key of a path."""
    for name in path[:-1]:
        data = data.get(name) if isinstance(data, CommentedMap) else None
    if not isinstance(data, CommentedMap):
        raise KeyError(".".join(path))
    return data


def _remove(section: CommentedMap, key: str) -> None:
    """Delete a key and the comment on its line; the lines of comment after it stay."""
    keys = list(section)
    place = keys.index(key)
    token = section.ca.items.get(key, [None] * 4)[2]
    del section[key]
    section.ca.items.pop(key, None)
    after = token.value.partition("\n")[2] if token else ""
    if not after or place == 0:
        return
    previous = section.ca.items.setdefault(keys[place - 1], [None] * 4)
    if previous[2] is None:
        token.value = "\n" + after
        previous[2] = token
    else:
        previous[2].value = previous[2].value.rstrip("\n") + "\n" + after
