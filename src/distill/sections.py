"""The sections of params.yaml as types: what each value may be. The values themselves stand in params.yaml only."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

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
