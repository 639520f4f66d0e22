"""Lists of objects within a row, as JSON has them and as `datasets` gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def objects(value: Any) -> Any:
    """A list of objects where `value` is an object of equally long lists; anything else as it is.

    `datasets` turns a list of objects over in this way where its feature is a `Sequence` of several fields, as in
    MS MARCO and in sets of spans.
    """
    if not isinstance(value, Mapping) or not all(isinstance(values, list) for values in value.values()):
        return value
    if len({len(values) for values in value.values()}) != 1:
        return value
    return [dict(zip(value, values, strict=True)) for values in zip(*value.values(), strict=True)]
