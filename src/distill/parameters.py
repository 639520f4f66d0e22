"""Typed parameters: everything that params.yaml may say, and nothing else.

Values live in params.yaml and only there; this file holds types, limits and impossible combinations. Unknown keys,
wrong types and contradictions raise :class:`~distill.errors.UserError` with one line that names file, field, value
and fix. Each distillation method describes its own section in its own file (``methods/<name>.py: Config``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import (
    ValidationError,
)

from distill.config.explain import explain, nearest
from distill.config.params import Params
from distill.errors import UserError
from distill.methods import registry


def _check_method(name: str, params: Params) -> None:
    if name not in registry.available():
        raise ValueError(f"methods: no method {name!r}{nearest(name, registry.available())}")
    if name not in params.sections:
        raise ValueError(f"methods: {name!r} has no section of its own: add `{name}:` to the file")
    registry.load(name).check(params)


def load(path: Path, overrides: dict[str, Any] | None = None) -> Params:
    """Read and check a params file.

    Args:
        path: the YAML file.
        overrides: dotted names to values, applied on top (tests and tools).

    Raises:
        UserError: the file is missing or not YAML, or a value is unknown, of the wrong type or contradictory.
    """
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: run from the project's root") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path}: expected sections (name: values), found {type(raw).__name__}")
    for name, value in (overrides or {}).items():
        *parents, leaf = name.split(".")
        node = raw
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return parse(raw, path)


def parse(raw: dict[str, Any], path: Path) -> Params:
    """Check the sections of a params file that is already read; `path` only serves error messages."""
    raw = dict(raw)
    for name in ("teacher", "student", "assistant", "teacher_filters", "student_filters", "generator", "distill"):
        own = {k: v for k, v in raw["training"].items() if not (name == "distill" and k == "seed")}
        raw[name] = own | raw[name]
    sections: dict[str, Any] = {}
    problems: list[str] = []
    for name in [key for key in raw if key in registry.available()]:
        schema = registry.load(name).Config
        try:
            sections[name] = schema.model_validate(raw.pop(name))
        except ValidationError as error:
            problems += explain(error, schema, name)
    if "sections" in raw:
        problems.append("sections: unknown section")
        raw.pop("sections")
    if problems:
        raise UserError(f"{path}: " + "; ".join(problems))
    try:
        params = Params.model_validate({**raw, "sections": sections})
        for name in params.methods:
            _check_method(name, params)
    except ValidationError as error:
        raise UserError(f"{path}: " + "; ".join(explain(error, Params, "", registry.available()))) from None
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    return params
