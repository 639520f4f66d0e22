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

from distill.config import comparison, ensemble, reading, training, variants
from distill.config.explain import MISSING, explain, nearest
from distill.config.params import Params
from distill.config.schema import Distill, Section, Teacher, TrainingDefaults
from distill.config.variants import Variant
from distill.errors import UserError
from distill.methods import registry


def _check_name(name: str, params: Params) -> None:
    """Raise a ValueError or UserError where a listed name cannot run with these parameters."""
    known = [*registry.available(), *params.variants]
    if name not in known:
        raise ValueError(
            f"methods: no method {name!r}{nearest(name, known)}; a variant has a section `{name}:` with `method:`"
        )
    if name not in params.sections:
        raise ValueError(f"methods: {name!r} has no section of its own: add `{name}:` to the file")
    method = registry.load(params.method_of(name))
    if name in params.augment.methods and not method.copies:
        able = [listed for listed in params.methods if listed in known and _learns_from_copies(listed, params)]
        raise ValueError(
            f"augment.methods: {name!r} cannot learn from copies: take it out"
            f" (of methods {params.methods}, {', '.join(able) or 'none'} can)"
        )
    resolved = params.resolved(name)
    if snapshot := params.snapshot_of(name):
        _check_snapshot(name, snapshot, params)
    if "filters" in method.artifacts and method.start(resolved) != params.distill.init:
        raise ValueError(
            f"{name}.distill.init: {resolved.distill.init!r}: its filters are trained on the student that distill.init"
            f" {params.distill.init!r} starts from: leave init out"
        )
    if "filters" in method.artifacts and params.distill.init == "random":
        raise ValueError(
            f"distill.init is 'random' but {name!r} starts from filters trained on one fixed student: choose another"
            f" distill.init, or take {name!r} out of methods"
        )
    if not params.data.has_labels:
        _check_without_labels(name, resolved, method.needs_labels(resolved))
    try:
        method.check_task(params.task)
        method.check(resolved)
    except (ValueError, UserError) as error:
        if resolved is params:
            raise
        raise ValueError(f"{name}: {str(error).removeprefix('params.yaml: ')}") from None


def _check_snapshot(name: str, snapshot: int, params: Params) -> None:
    """Raise a ValueError where a variant cannot learn from a checkpoint of the teacher's training.

    Args:
        snapshot: number of the checkpoint.
    """
    method, kept = params.method_of(name), params.teacher.snapshots
    if not registry.load(method).learns_from_logits_alone() or name in params.augment.methods:
        raise ValueError(
            f"{name}.{variants.SNAPSHOT}: {snapshot}, but {method} learns from more than a teacher's logits over the"
            " training texts, of which alone checkpoints are asked: leave it out"
        )
    if snapshot > kept:
        raise ValueError(
            f"{name}.{variants.SNAPSHOT}: {snapshot}, but teacher.snapshots keeps {kept} checkpoints: set that to"
            f" {snapshot} or more, or lower this"
        )


def _check_without_labels(name: str, params: Params, reason: str) -> None:
    """Raise a ValueError where a listed name needs labelled rows, of which there are none.

    Args:
        params: parameters of the name (`Params.resolved`).
        reason: why its method needs labels; empty: it does not.
    """
    if reason:
        raise ValueError(
            f"methods: {name!r}: {reason}, and data.train is {params.data.train}: take it out, or name a file of"
            " data.train"
        )
    if name in params.augment.methods:
        raise ValueError(
            f"augment.methods: {name!r}: copies are made of labelled texts, and data.train is {params.data.train}: take"
            " it out"
        )
    if params.distill.label_noise:
        raise ValueError(
            f"methods: {name!r}: distill.label_noise is {params.distill.label_noise} and data.train is"
            f" {params.data.train}: there is no label to replace: set it to 0"
        )
    if not params.distill.transfer_share:
        raise ValueError(
            f"methods: {name!r}: distill.transfer_share is 0 and data.train is {params.data.train}: nothing is left to"
            " learn from: set it to 1"
        )


def _learns_from_copies(name: str, params: Params) -> bool:
    return registry.load(params.method_of(name)).copies


def _check_different(params: Params) -> None:
    """Raise a ValueError where two listed names are the same method with the same settings."""
    names: dict[Any, str] = {}
    for name in params.methods:
        resolved, method = params.resolved(name), params.method_of(name)
        teacher = params.snapshot_of(name), name in params.augment.methods
        settings = (method, resolved.sections[name], resolved.distill, *teacher)
        same = [other for other, listed in names.items() if listed == settings]
        if same:
            raise ValueError(
                f"methods: {same[0]!r} and {name!r} are both {method} with the same settings: change one, or take it"
                " out"
            )
        names[name] = settings


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
    members = _members(raw, problems)
    sections, named = _method_sections(raw, problems)
    for name in [key for key in ("sections", "variants", "members") if key in raw]:
        problems.append(f"{name}: unknown section")
        raw.pop(name)
    if problems:
        raise UserError(f"{path}: " + "; ".join(problems))
    try:
        params = Params.model_validate({**raw, "sections": sections, "variants": named, "members": members})
        for name in params.methods:
            _check_name(name, params)
        _check_different(params)
        comparison.check_names(params, registry.available())
    except ValidationError as error:
        raise UserError(f"{path}: " + "; ".join(explain(error, Params, "", registry.available()))) from None
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    return params


def _members(raw: dict[str, Any], problems: list[str]) -> dict[str, Teacher]:
    """Take the sections of an ensemble's members out of `raw`: section `teacher` of each, by name.

    What is wrong with them goes to `problems`.
    """
    known = [*Params.model_fields, *registry.available()]
    taken, members = variants.take_out(raw, known, ensemble.is_member), {}
    teacher = raw.get(ensemble.TEACHER)
    is_valid = _validated(Teacher, teacher, ensemble.TEACHER, []) is not None  # if not, Params says so below
    for name, values in taken.items():
        field = f"{name}.{ensemble.TEACHER}"
        others = [other for other in values if other != ensemble.TEACHER]
        if problem := variants.problem_with_name(name, known, taken):
            problems.append(f"{name}: {problem}")
        elif others:
            problems.append(f"{name}.{others[0]}: a member of an ensemble has `teacher:` and nothing else: take it out")
        elif is_valid:
            changed = ensemble.settings(teacher, values[ensemble.TEACHER])
            if member := _validated(Teacher, changed, field, problems):
                members[name] = member
    return members


def _method_sections(raw: dict[str, Any], problems: list[str]) -> tuple[dict[str, Section], dict[str, Variant]]:
    """Take the sections of methods and of variants out of `raw`: settings by name, and the variants.

    What is wrong with them goes to `problems`.
    """
    known = [*Params.model_fields, *registry.available()]
    taken, sections, named = variants.take_out(raw, known, variants.is_variant), {}, {}
    values = {name: raw.pop(name) for name in [key for key in raw if key in registry.available()]}
    for name, section in values.items():
        if settings := _validated(registry.load(name).Config, section, name, problems):
            sections[name] = settings
    distill = raw.get(variants.DISTILL)
    is_valid = _validated(Distill, distill, variants.DISTILL, []) is not None  # if not, Params says so below
    for name, changes in taken.items():
        if problem := variants.problem_with_name(name, known, taken):
            problems.append(f"{name}: {problem}")
        elif (method := changes[variants.METHOD]) not in registry.available():
            problems.append(f"{name}.method: no method {method!r}{nearest(str(method), registry.available())}")
        elif method not in values:
            problems.append(f"{name}.method: {method!r} has no section of its own: add `{method}:` to the file")
        elif method in sections and is_valid and (made := _variant(name, changes, values[method], distill, problems)):
            sections[name], named[name] = made
    return sections, named


def _variant(
    name: str, changes: dict[str, Any], section: dict[str, Any], distill: Any, problems: list[str]
) -> tuple[Section, Variant] | None:
    """A variant's settings, complete, and its training; None where a value is wrong, which `problems` then says.

    Args:
        changes: the variant's section.
        section: the method's section, which is valid.
        distill: section `distill`.
    """
    changes = dict(changes)
    method, training_changes = changes.pop(variants.METHOD), changes.pop(variants.DISTILL, {})
    snapshot = changes.pop(variants.SNAPSHOT, None)
    if not isinstance(training_changes, dict):
        problems.append(f"{name}.{variants.DISTILL}: {training_changes!r}: expected names and values below it")
        return None
    settings = _validated(registry.load(method).Config, section | changes, name, problems)
    trained = _validated(Distill, distill | training_changes, f"{name}.{variants.DISTILL}", problems)
    if not settings or not trained:
        return None
    values = {"method": method, "distill": trained, variants.SNAPSHOT: snapshot}
    variant = _validated(Variant, values, name, problems)
    return (settings, variant) if variant else None


def _validated(schema: type[Section], values: Any, prefix: str, problems: list[str]) -> Any:
    """The values as `schema`; None where one is wrong, which `problems` then says."""
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        problems += explain(error, schema, prefix)
        return None


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
