"""Names of classes: those of the rows of a classifier's head, and where the data's classes are among them.

A row of logits means what the name in the checkpoint's configuration says (`id2label`); a place means nothing: public
MNLI checkpoints alone come in several orders.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

# transformers' names for classes that nobody named, and bare numbers.
_GENERIC = re.compile(r"(?:LABEL_)?(\d+)")


def named(id2label: Mapping[Any, Any]) -> list[str]:
    """The names of a head's rows in their order, from `id2label` of a configuration or of params.yaml.

    Raises:
        ValueError: the keys are not 0, 1, 2 and so on.
    """
    names = {int(key): str(name) for key, name in id2label.items()}
    if sorted(names) != list(range(len(names))):
        raise ValueError(f"its keys are {', '.join(map(str, id2label))}, not 0 to {len(names) - 1}")
    return [names[row] for row in range(len(names))]


def order(rows: Sequence[str], classes: Sequence[str]) -> list[int] | None:
    """The row of each class: names are compared as they are, or else without case, spaces, hyphens and underscores.

    None where they are not the same names.
    """
    for key in (str, _plain):
        have, wanted = [key(name) for name in rows], [key(name) for name in classes]
        if len(set(have)) == len(have) and len(set(wanted)) == len(wanted) and set(have) == set(wanted):
            return [have.index(name) for name in wanted]
    return None


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()


def is_generic(rows: Sequence[str]) -> bool:
    """Whether the names say no more than the rows' numbers: LABEL_0, LABEL_1 … or 0, 1 …"""
    numbers = [_GENERIC.fullmatch(name) for name in rows]
    return all(match and int(match[1]) == row for row, match in enumerate(numbers))


def of_head(config: Any) -> list[str]:
    """The names of the rows that a configuration has: `id2label`, or `label2id` where only that names them.

    Args:
        config: a `transformers.PretrainedConfig`.

    Raises:
        ValueError, TypeError, AttributeError: `id2label` cannot be read.
    """
    rows = named(config.id2label)
    numbers = {row: name for name, row in (config.label2id or {}).items()}
    if is_generic(rows) and len(numbers) == len(rows) and sorted(numbers) == list(range(len(rows))):
        return named(numbers)
    return rows
