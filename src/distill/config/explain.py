"""What is wrong with parameters, in one line each: field, value and fix."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

MISSING = "missing: every parameter stands in the file, see the one that came with the project"


def explain(error: ValidationError, schema: type[BaseModel], prefix: str, sections: Sequence[str] = ()) -> list[str]:
    """A line for each error: field, value and fix.

    Args:
        schema: type that the values were validated against.
        prefix: name of the section; empty for all of params.yaml.
        sections: names of the methods' sections, which stand at the top level and are no fields of `schema`.
    """
    lines = []
    for item in error.errors():
        # Without pydantic's own notes: "[key]" and the tags of alternatives. An unknown name may look like one.
        *outer, last = item["loc"] or ("",)
        unknown = item["type"] == "extra_forbidden"
        parts = [*filter(_is_name, map(str, outer)), *([str(last)] if unknown or _is_name(str(last)) else [])]
        where = [part for part in parts if part or unknown]
        field = ".".join(
            [*([prefix] if prefix else []), *(part if part.isprintable() else repr(part) for part in where)]
        )
        if item["type"] == "extra_forbidden":
            known = _fields_at(schema, where[:-1])
            if sections and len(where) == 1:
                known = [*(k for k in known if k not in ("sections", "variants")), *sections]
            lines.append(f"{field}: unknown parameter{nearest(where[-1], known)}")
        elif item["type"] == "missing":
            lines.append(f"{field}: {MISSING}")
        elif item["type"] in ("model_type", "dict_type"):
            lines.append(f"{field}: {item['input']!r}: expected names and values below it")
        elif item["type"] == "value_error":
            message = item["msg"].removeprefix("Value error, ")
            lines.append(f"{field}: {message}" if field else message)
        else:
            lines.append(f"{field}: {item['input']!r}: {item['msg'][0].lower()}{item['msg'][1:]}")
    return lines


def _is_name(part: str) -> bool:
    return not part.startswith(("[", "<"))


def _fields_at(schema: Any, where: list[str]) -> list[str]:
    for name in where:
        field = getattr(schema, "model_fields", {}).get(name)
        schema = field.annotation if field else None
    return list(getattr(schema, "model_fields", {}))


def nearest(name: str, known: list[str]) -> str:
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f": did you mean {match[0]!r}?" if match else f": known are {', '.join(sorted(known))}"
