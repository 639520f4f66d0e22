"""Typed parameters: everything that params.yaml may say, and nothing else.

Values live in params.yaml and only there; this file holds types, limits and impossible combinations. Unknown keys,
wrong types and contradictions raise :class:`~distill.errors.UserError` with one line that names file, field, value
and fix. Each distillation method describes its own section in its own file (``methods/<name>.py: Config``).
"""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    ValidationError,
    model_validator,
)

from distill import data_checks, registry
from distill.errors import UserError
from distill.sections import (
    Assistant,
    Atlas,
    Augment,
    Cache,
    Compare,
    Cost,
    Data,
    Distill,
    Evaluate,
    Export,
    Features,
    Filters,
    Generator,
    Predict,
    Retrieve,
    Runtime,
    Section,
    Student,
    Teacher,
    Tracking,
)

# By what a method needs from earlier stages; dvc.yaml has a stage for each.
Group = Literal["logits", "hidden", "filtered", "assisted", "generated", "retrieved", "augmented", "generations"]


class Params(Section):
    """All of params.yaml. Method sections are in `sections`, by method name."""

    task: Literal["qa", "classification", "regression"]
    atlas: Atlas
    data: Data
    features: Features
    teacher: Teacher
    student: Student
    assistant: Assistant
    predict: Predict
    cache: Cache
    teacher_filters: Filters
    student_filters: Filters
    generator: Generator
    retrieve: Retrieve
    augment: Augment
    distill: Distill
    evaluate: Evaluate
    compare: Compare
    cost: Cost
    export: Export
    methods: dict[Group, list[str]]
    seeds: list[int]
    runtime: Runtime
    tracking: Tracking
    sections: dict[str, Any]

    @property
    def method_names(self) -> list[str]:
        """The methods of this run, in the order of params.yaml."""
        return [name for group in self.methods.values() for name in group]

    def group_of(self, method: str) -> str:
        """The list that names a method; for one that no list names, the usual one."""
        listed = [group for group, names in self.methods.items() if method in names]
        return listed[0] if listed else registry.load(method).groups[0]

    @model_validator(mode="after")
    def _combinations(self) -> Params:
        if missing := [group for group in get_args(Group) if group not in self.methods]:
            raise ValueError(f"methods.{missing[0]}: missing: list its methods, or give an empty list: []")
        data_checks.check(self)
        names = self.method_names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"methods: {twice[0]!r} is listed twice: list each method once")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds: {self.seeds}: give at least one seed, each once")
        for group, members in self.methods.items():
            for name in members:
                _check_group(group, name, self)
        for field, values in (("methods", self.export.methods), ("seeds", self.export.seeds)):
            if len(set(values)) != len(values):
                raise ValueError(f"export.{field}: {values}: give each once")
        if strange := [name for name in self.export.methods if name not in names]:
            raise ValueError(
                f"export.methods: {strange[0]!r} is not trained: add it to a list of `methods`, or take it out here"
            )
        if self.export.methods and (untrained := [seed for seed in self.export.seeds if seed not in self.seeds]):
            raise ValueError(f"export.seeds: {untrained[0]} is not among seeds {self.seeds}: choose one of them")
        rivals = [name for name in names if name != "ft"]
        if "ft" in names and rivals and len(self.seeds) > 1:
            # The smallest p that a bootstrap can give, times Holm's factor.
            needed = math.ceil(2 * len(rivals) / (1 - self.compare.confidence) - 1e-9)
            if self.compare.resamples < needed:
                raise ValueError(
                    f"compare.resamples: {self.compare.resamples} are too few to tell anything of {len(rivals)} methods"
                    f" at compare.confidence {self.compare.confidence}: set {needed} or more"
                )
        if self.distill.init == "pretrained" and self.student.model.path is None:
            raise ValueError("distill.init is 'pretrained' but student.model.path is null: name a checkpoint")
        copies = "teacher_layers" in (self.student.init, self.distill.init)
        if copies and self.student.model.path is not None:
            raise ValueError(
                f"student.model.path is {self.student.model.path!r} but init 'teacher_layers' copies the teacher: set"
                " student.model.path to null, or choose another init"
            )
        if self.features.tokenizer.path is None:
            # Methods of `generated` say so themselves.
            for role in ("teacher", "student", *(["generator"] if self.methods["augmented"] else [])):
                if path := getattr(self, role).model.path:
                    raise ValueError(
                        f"features.tokenizer.path is null (train a new vocabulary) but {role}.model.path is {path!r},"
                        f" which has its own: set features.tokenizer.path to {path!r}"
                    )
        return self


def _check_group(group: str, name: str, params: Params) -> None:
    if name not in registry.available():
        raise ValueError(f"methods.{group}: no method {name!r}{_nearest(name, registry.available())}")
    if name not in params.sections:
        raise ValueError(f"methods.{group}: {name!r} has no section of its own: add `{name}:` to the file")
    method = registry.load(name)
    if group not in method.groups:
        places = " or ".join(f"methods.{place}" for place in method.groups)
        raise ValueError(f"methods.{group}: {name!r} belongs in {places}: move it there")
    if group == "filtered" and params.distill.init == "random":
        raise ValueError(
            f"distill.init is 'random' but {name!r} starts from filters trained on one fixed student: choose another"
            f" distill.init, or take {name!r} out of methods.{group}"
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
        return Params.model_validate({**raw, "sections": sections})
    except ValidationError as error:
        raise UserError(f"{path}: " + "; ".join(explain(error, Params, ""))) from None


def explain(error: ValidationError, schema: type[BaseModel], prefix: str) -> list[str]:
    """A line for each thing that is wrong: field, value and fix.

    Args:
        schema: what was validated.
        prefix: the section's name; empty for all of params.yaml.
    """
    lines = []
    for item in error.errors():
        # Without pydantic's own notes: "[key]" and the tags of alternatives.
        where = [str(part) for part in item["loc"] if not str(part).startswith(("[", "<"))]
        field = ".".join([*([prefix] if prefix else []), *where])
        if item["type"] == "extra_forbidden":
            known = _fields_at(schema, where[:-1])
            if schema is Params and len(where) == 1:
                known = [*(k for k in known if k != "sections"), *registry.available()]
            lines.append(f"{field}: unknown parameter{_nearest(where[-1], known)}")
        elif item["type"] == "missing":
            lines.append(
                f"{field}: missing: every parameter stands in the file, see the one that came with the project"
            )
        elif item["type"] in ("model_type", "dict_type"):
            lines.append(f"{field}: {item['input']!r}: expected names and values below it")
        elif item["type"] == "value_error":
            message = item["msg"].removeprefix("Value error, ")
            lines.append(f"{field}: {message}" if field else message)
        else:
            lines.append(f"{field}: {item['input']!r}: {item['msg'][0].lower()}{item['msg'][1:]}")
    return lines


def _fields_at(schema: Any, where: list[str]) -> list[str]:
    for name in where:
        field = getattr(schema, "model_fields", {}).get(name)
        schema = field.annotation if field else None
    return list(getattr(schema, "model_fields", {}))


def _nearest(name: str, known: list[str]) -> str:
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f": did you mean {match[0]!r}?" if match else f": known are {', '.join(sorted(known))}"


def pick(params: Params, names: list[str]) -> dict[str, Any]:
    """The named parts of the parameters, as plain values: what a stage depends on.

    Args:
        names: dotted, as under `params:` in dvc.yaml: a section, a method's section or a single value.
    """
    picked = {}
    for name in names:
        head, *rest = name.split(".")
        value = params.sections[head] if head in params.sections else getattr(params, head)
        for part in rest:
            value = value[part] if isinstance(value, dict) else getattr(value, part)
        picked[name] = value.model_dump() if isinstance(value, BaseModel) else value
    return picked


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
