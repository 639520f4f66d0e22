"""Typed parameters: everything that params.yaml may say, and nothing else.

Values live in params.yaml and only there; this file holds types, limits and impossible combinations. Unknown keys,
wrong types and contradictions raise :class:`~distill.errors.UserError` with one line that names file, field, value
and fix. Each distillation method describes its own section in its own file (``methods/<name>.py: Config``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import (
    ValidationError,
)

from distill.config import comparison, reading, training
from distill.config.explain import MISSING, explain, nearest
from distill.config.params import Params
from distill.config.schema import TrainingDefaults
from distill.errors import UserError
from distill.methods import registry


def _check_method(name: str, params: Params) -> None:
    if name not in registry.available():
        raise ValueError(f"methods: no method {name!r}{nearest(name, registry.available())}")
    if name not in params.sections:
        raise ValueError(f"methods: {name!r} has no section of its own: add `{name}:` to the file")
    method = registry.load(name)
    if name in params.augment.methods and not method.copies:
        able = [listed for listed in params.methods if listed in registry.available() and registry.load(listed).copies]
        raise ValueError(
            f"augment.methods: {name!r} cannot learn from copies: take it out"
            f" (of methods {params.methods}, {', '.join(able) or 'none'} can)"
        )
    if "filters" in method.artifacts and params.distill.init == "random":
        raise ValueError(
            f"distill.init is 'random' but {name!r} starts from filters trained on one fixed student: choose another"
            f" distill.init, or take {name!r} out of methods"
        )
    method.check(params)


def load(path: Path, overrides: dict[str, Any] | None = None) -> Params:
    """Read and check a params file.

    Args:
        path: the YAML file.
        overrides: dotted names to values, applied on top (tests and tools).

    Raises:
        UserError: the file is missing or not YAML, or a value is unknown, of the wrong type or contradictory.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: run from the project's root") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 ({error}): save it in that encoding") from None
    raw = reading.parse(text, path)
    for name, value in (overrides or {}).items():
        *parents, leaf = name.split(".")
        node = raw
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return parse(raw, path)


def parse(raw: dict[str, Any], path: Path) -> Params:
    """Check the sections of a params file that is already read; `path` only serves error messages."""
    if grouped := _grouped_methods(raw.get("methods")):
        raise UserError(f"{path}: {grouped}")
    if problems := _problems_of_training(raw):
        raise UserError(f"{path}: " + "; ".join(problems))
    raw = training.complete(raw)
    sections: dict[str, Any] = {}
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
        comparison.check_names(params, registry.available())
    except ValidationError as error:
        raise UserError(f"{path}: " + "; ".join(explain(error, Params, "", registry.available()))) from None
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    return params


def _grouped_methods(methods: Any) -> str:
    """What to write instead of lists of methods by what they need; empty: `methods` is no such mapping."""
    if not isinstance(methods, dict):
        return ""
    listed = [name for names in methods.values() if isinstance(names, list) for name in names]
    fix = f"write methods: [{', '.join(map(str, listed))}]"
    if copies := methods.get("augmented"):
        fix += f" and augment.methods: [{', '.join(map(str, copies))}]"
    return f"methods: lists by what a method needs are gone: {fix}"


def _problems_of_training(raw: dict[str, Any]) -> list[str]:
    """Problems of section `training` itself, reported once and not for every section that takes values from it."""
    if training.NAME not in raw:
        return [f"{training.NAME}: {MISSING}"]
    values = raw[training.NAME]
    alone = [name for name in ("epochs", "learning_rate") if isinstance(values, dict) and name in values]
    if alone:
        sections = ", ".join(f"{section}.{alone[0]}" for section in training.SECTIONS)
        return [f"{training.NAME}.{alone[0]}: each training has its own: set {sections}"]
    try:
        TrainingDefaults.model_validate(values)
    except ValidationError as error:
        return explain(error, TrainingDefaults, training.NAME)
    return []
