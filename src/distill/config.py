"""Typed parameters: everything that params.yaml may say, and nothing else.

Values live in params.yaml and only there; this file holds types, limits and impossible combinations. Unknown keys,
wrong types and contradictions raise :class:`~distill.errors.UserError` with one line that names file, field, value
and fix. Each distillation method describes its own section in its own file (``methods/<name>.py: Config``).
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from distill import registry
from distill.errors import UserError

Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Init = Literal["finetuned", "pretrained", "teacher_layers", "random"]
# The tags choose one alternative, so that an error speaks of that one only.
LayerMap = Annotated[
    Annotated[Literal["uniform", "last", "skip"], Tag("<name>")] | Annotated[list[Count], Tag("<list>")],
    Discriminator(lambda value: "<list>" if isinstance(value, list) else "<name>"),
]
Precision = Literal["fp32", "bf16"]


class Section(BaseModel):
    """A section of params.yaml. Numbers written as text (``1e-05``, which PyYAML reads as a string) are coerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError(f"{str(value).lower()}: true and false are no value here")
        return value


class Atlas(Section):
    """Size of the embedded corpus."""

    train_questions: Count
    validation_questions: Count
    unanswerable: Fraction
    other_town: Annotated[float, Field(ge=0, le=1)]
    held_out: Annotated[float, Field(ge=0, le=1)]
    facts: Count
    distractors: Annotated[int, Field(ge=0)]
    seed: int


class Data(Section):
    """Where questions come from and how the selection split is carved out of train."""

    source: Literal["embedded", "files", "hub"]
    train: str
    validation: str
    name: str | None
    subset: str | None
    revision: str | None
    version_2_with_negative: bool
    selection_fraction: Annotated[float, Field(gt=0, lt=1)]
    max_train_context: Count | None
    max_train_questions: Count | None
    max_selection_questions: Count | None
    max_validation_questions: Count | None
    seed: int

    @model_validator(mode="after")
    def _hub_needs_a_name(self) -> Data:
        if self.source == "hub" and not self.name:
            raise ValueError("source is 'hub' but name is empty: set data.name, e.g. rajpurkar/squad_v2")
        return self


class Tokenizer(Section):
    """A pretrained tokenizer (`path`), or a WordPiece trained on the training split (`path: null`)."""

    path: str | None
    revision: str | None
    vocab_size: Count
    lowercase: bool


class Features(Section):
    """Windows over question and context, in tokens."""

    tokenizer: Tokenizer
    max_length: Count
    doc_stride: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _stride_fits(self) -> Features:
        if self.doc_stride >= self.max_length:
            raise ValueError(f"doc_stride {self.doc_stride} must be smaller than max_length {self.max_length}")
        return self


class Model(Section):
    """A checkpoint (`path`: local folder or hub id), or, with `path: null`, random weights of shape `config`.

    `config` holds fields of the transformers configuration: the whole architecture (with ``model_type``) when there
    is no checkpoint, otherwise fields that replace the checkpoint's own (a dropout rate, for instance).
    """

    path: str | None
    revision: str | None
    config: dict[str, Any]


class Training(Section):
    """Hyper-parameters that every training stage has."""

    epochs: Annotated[float, Field(gt=0)]
    max_steps: Count | None
    learning_rate: Annotated[float, Field(gt=0)]
    batch_size: Count
    gradient_accumulation: Count
    weight_decay: Annotated[float, Field(ge=0)]
    adam_beta1: Fraction
    adam_beta2: Fraction
    adam_epsilon: Annotated[float, Field(gt=0)]
    max_grad_norm: Annotated[float, Field(ge=0)]
    lr_scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"]
    warmup: Annotated[float, Field(ge=0)]
    precision: Precision
    group_by_length: bool
    log_every: Count
    evaluations: Annotated[int, Field(ge=0)]
    keep: Literal["last", "best"]

    @model_validator(mode="after")
    def _is_possible(self) -> Training:
        if self.keep == "best" and self.evaluations == 0:
            raise ValueError("keep is 'best' but evaluations is 0: ask for at least one, or keep 'last'")
        if self.batch_size % self.gradient_accumulation:
            raise ValueError(
                f"gradient_accumulation {self.gradient_accumulation} does not divide batch_size {self.batch_size}"
                " (examples per update): choose a divisor"
            )
        return self


class Teacher(Training):
    """The model that is learnt from."""

    model: Model
    seed: int

    @model_validator(mode="after")
    def _has_a_shape(self) -> Teacher:
        if self.model.path is None and "model_type" not in self.model.config:
            raise ValueError("model.path is null and model.config has no model_type: name a checkpoint or a shape")
        return self


class Student(Training):
    """The model that learns; fine-tuned by itself for reference and as a start for distillation."""

    model: Model
    layers: LayerMap
    num_layers: Count | None
    init: Literal["pretrained", "teacher_layers", "random"]
    seed: int

    @model_validator(mode="after")
    def _start_is_possible(self) -> Student:
        if self.init == "pretrained" and self.model.path is None:
            raise ValueError("init is 'pretrained' but model.path is null: name a checkpoint, or init: random")
        shaped = self.model.path is not None or "model_type" in self.model.config
        if self.init != "teacher_layers" and not shaped:
            raise ValueError("model.path is null and model.config has no model_type: name a checkpoint or a shape")
        if not shaped and self.num_layers is None and isinstance(self.layers, str):
            raise ValueError("num_layers is null: say how many of the teacher's layers the student takes")
        return self


class Filters(Training):
    """Stage I of TED: one filter per selected layer, trained on a frozen backbone."""

    filter_interval: Count
    filter_output_dim: Count
    nonlinear: bool
    activation: Literal["gelu", "relu", "tanh"]
    backbone_dropout: bool
    seed: int


class Distill(Training):
    """One setting for all methods, so that they differ in nothing but the method."""

    init: Init


class Predict(Section):
    """Teacher predictions over the training features."""

    batch_size: Count
    precision: Precision


class Evaluate(Section):
    """Answer search and scoring."""

    batch_size: Count
    precision: Precision
    n_best: Count
    max_answer_length: Count


class Runtime(Section):
    """Settings of the machine: they change no result, and no stage depends on them."""

    checkpoint_steps: Count
    checkpoints_kept: Annotated[int, Field(ge=2)]
    threads: Count | None


class Tracking(Section):
    """MLflow."""

    experiment: str


class Params(Section):
    """All of params.yaml. Method sections are in `sections`, by method name."""

    task: Literal["qa"]
    atlas: Atlas
    data: Data
    features: Features
    teacher: Teacher
    student: Student
    predict: Predict
    teacher_filters: Filters
    student_filters: Filters
    distill: Distill
    evaluate: Evaluate
    methods: dict[Literal["logits", "hidden", "filtered"], list[str]]
    seeds: list[int]
    runtime: Runtime
    tracking: Tracking
    sections: dict[str, Any]

    @property
    def method_names(self) -> list[str]:
        """The methods of this run, in the order of params.yaml."""
        return [name for group in self.methods.values() for name in group]

    @model_validator(mode="after")
    def _combinations(self) -> Params:
        if missing := [group for group in ("logits", "hidden", "filtered") if group not in self.methods]:
            raise ValueError(f"methods.{missing[0]}: missing: list its methods, or give an empty list: []")
        names = self.method_names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"methods: {twice[0]!r} is listed twice: list each method once")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds: {self.seeds}: give at least one seed, each once")
        for group, members in self.methods.items():
            for name in members:
                _check_group(group, name, self)
        if self.distill.init == "pretrained" and self.student.model.path is None:
            raise ValueError("distill.init is 'pretrained' but student.model.path is null: name a checkpoint")
        copies = "teacher_layers" in (self.student.init, self.distill.init)
        if copies and self.student.model.path is not None:
            raise ValueError(
                f"student.model.path is {self.student.model.path!r} but init 'teacher_layers' copies the teacher: set"
                " student.model.path to null, or choose another init"
            )
        if self.features.tokenizer.path is None:
            for role in ("teacher", "student"):
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
    needed = method.group
    if needed != group:
        raise ValueError(f"methods.{group}: {name!r} belongs in methods.{needed}: move it there")
    if needed == "filtered" and params.distill.init == "random":
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
            problems += _explain(error, schema, name)
    if "sections" in raw:
        problems.append("sections: unknown section")
        raw.pop("sections")
    if problems:
        raise UserError(f"{path}: " + "; ".join(problems))
    try:
        return Params.model_validate({**raw, "sections": sections})
    except ValidationError as error:
        raise UserError(f"{path}: " + "; ".join(_explain(error, Params, ""))) from None


def _explain(error: ValidationError, schema: type[BaseModel], prefix: str) -> list[str]:
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
