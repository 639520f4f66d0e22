"""Parts of the parameters, and their flat form."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from distill.config.ensemble import TEACHER
from distill.config.params import Params


def pick(params: Params, names: list[str]) -> dict[str, Any]:
    """The named parts of the parameters, as plain values: what a stage depends on.

    Args:
        names: dotted, as under `params:` in dvc.yaml: a section, also that of a method, variant or member, or a value.
    """
    picked = {}
    for name in names:
        head, *rest = name.split(".")
        value = _section(params, head)
        for part in rest:
            value = value[part] if isinstance(value, dict) else getattr(value, part)
        picked[name] = _plain(value)
    return picked


def sections(params: Params) -> list[str]:
    """Names of the sections of params.yaml but those of methods, variants and members of an ensemble."""
    return [name for name in type(params).model_fields if name not in ("sections", "variants", "members")]


def _section(params: Params, name: str) -> Any:
    if name in params.sections:
        return params.sections[name]
    return {TEACHER: params.members[name]} if name in params.members else getattr(params, name)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.model_dump() if isinstance(value, BaseModel) else value


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted names: ``{"ted": Config(mse_alpha=1)}`` → ``{"ted.mse_alpha": 1}``."""
    if isinstance(values, BaseModel):
        values = values.model_dump()
    if not isinstance(values, dict):
        return {prefix: values}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat
