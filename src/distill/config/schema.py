"""The sections of params.yaml as types: what each value may be. The values themselves stand in params.yaml only."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from distill.config import model_shape

Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Init = Literal["finetuned", "pretrained", "teacher_layers", "random"]
# The tags choose one alternative, so that an error names only that one.
LayerMap = Annotated[
    Annotated[Literal["uniform", "last", "skip", "first", "reversed"], Tag("<name>")]
    | Annotated[list[Count], Tag("<list>")],
    Discriminator(lambda value: "<list>" if isinstance(value, list) else "<name>"),
]
# A number or a schedule, as in the methods' weights; method takd checks its schedules.
LinkWeight = Annotated[
    Annotated[float, Field(ge=0), Tag("<number>")] | Annotated[dict[str, Any], Tag("<schedule>")],
    Discriminator(lambda value: "<schedule>" if isinstance(value, dict) else "<number>"),
]
Precision = Literal["fp32", "bf16"]
# What all generators of random numbers take: NumPy's takes no more.
Seed = Annotated[int, Field(ge=0, lt=2**32)]


def _name(value: Any) -> Any:
    """0 and 1, true and false are usual names of classes, and other types to YAML."""
    return str(value).lower() if isinstance(value, int) else value


ClassName = Annotated[str, BeforeValidator(_name)]
ClassWeights = Annotated[
    Annotated[Literal["balanced"], Tag("<name>")]
    | Annotated[dict[ClassName, Annotated[float, Field(gt=0)]], Tag("<weights>")],
    Discriminator(lambda value: "<weights>" if isinstance(value, dict) else "<name>"),
]


class Section(BaseModel):
    """A section of params.yaml. Numbers written as text (``1e-05``, which PyYAML reads as a string) are coerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[info.field_name].annotation
        if isinstance(value, bool) and bool not in (annotation, *get_args(annotation)):
            raise ValueError(f"{str(value).lower()}: true and false are no value here")
        return value


class Atlas(Section):
    """Size of the embedded corpus and of its siblings for other tasks (`text_…`: each of them; of passages, pairs)."""

    train_questions: Count
    validation_questions: Count
    text_train: Count
    text_validation: Count
    unanswerable: Fraction
    other_town: Annotated[float, Field(ge=0, le=1)]
    held_out: Annotated[float, Field(ge=0, le=1)]
    facts: Count
    distractors: Annotated[int, Field(ge=0)]
    seed: Seed


class Tokenizer(Section):
    """A pretrained tokenizer (`path`), or a WordPiece trained on the training split (`path: null`)."""

    path: str | None
    revision: str | None
    vocab_size: Count
    lowercase: bool


class Features(Section):
    """Texts, or windows over question and context, in tokens."""

    tokenizer: Tokenizer
    max_length: Count
    doc_stride: Annotated[int, Field(ge=0)]


class Model(Section):
    """A checkpoint (`path`: local folder or hub id), or, with `path: null`, random weights of shape `config`.

    `config` holds fields of the transformers configuration: the whole architecture (with ``model_type``) when there
    is no checkpoint, otherwise fields that replace the checkpoint's own (a dropout rate, for instance).
    """

    path: str | None
    revision: str | None
    config: Annotated[dict[str, Any], AfterValidator(model_shape.check)]


class _SharedTraining(Section):
    """Hyper-parameters that all trainings have and may share."""

    max_steps: Count | None
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
    patience: Count | None
    class_weights: ClassWeights | None


class TrainingDefaults(_SharedTraining):
    """Section `training`: values for the sections of single trainings, which may set their own."""

    seed: Seed


class Training(_SharedTraining):
    """Hyper-parameters that every training stage has."""

    epochs: Annotated[float, Field(gt=0)]
    learning_rate: Annotated[float, Field(gt=0)]

    @property
    def chooses(self) -> bool:
        """Whether a selection score decides which weights are the result: `keep` is best, or there is a `patience`."""
        return self.keep == "best" or self.patience is not None

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

    @model_validator(mode="after")
    def _can_wait(self) -> Training:
        if self.patience is not None and self.patience >= self.evaluations:
            raise ValueError(
                f"patience is {self.patience} but evaluations is {self.evaluations}, of which so many cannot follow the"
                " best one: raise evaluations, or set patience to null"
            )
        return self


class ModelTokenizer(Section):
    """A model's own tokenizer: a pretrained one (`path`), or a WordPiece trained for it (`vocab_size`, `lowercase`).

    All null: that of section `features`.
    """

    path: str | None
    revision: str | None
    vocab_size: Count | None
    lowercase: bool | None

    @property
    def is_set(self) -> bool:
        """Whether the model has a tokenizer of its own."""
        return not (self.path is None and self.vocab_size is None and self.lowercase is None)

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> ModelTokenizer:
        trained = {"vocab_size": self.vocab_size, "lowercase": self.lowercase}
        if self.path is not None and (given := next((name for name in trained if trained[name] is not None), None)):
            raise ValueError(
                f"tokenizer.path is {self.path!r} but tokenizer.{given} is {str(trained[given]).lower()}, which is of a"
                " WordPiece that is trained here: set one of them to null"
            )
        return self


class Teacher(Training):
    """The model that students learn from."""

    source: Literal["model", "predictions", "ensemble"]
    model: Model
    train: bool
    labels: list[ClassName] | None
    tokenizer: ModelTokenizer
    predictions: str
    missing: Literal["refuse", "labels_only"]
    label_noise: Share
    snapshots: Annotated[int, Field(ge=0)]
    seed: Seed

    @model_validator(mode="after")
    def _has_a_shape(self) -> Teacher:
        if self.model.path is None and "model_type" not in self.model.config:
            raise ValueError("model.path is null and model.config has no model_type: name a checkpoint or a shape")
        return self

    @model_validator(mode="after")
    def _can_wait(self) -> Teacher:
        return super()._can_wait() if self.train and self.source != "predictions" else self

    @model_validator(mode="after")
    def _is_ready(self) -> Teacher:
        if self.labels is not None:
            if twice := sorted({name for name in self.labels if self.labels.count(name) > 1}):
                raise ValueError(f"labels: {twice[0]!r} is listed twice: name each row of the head once")
            if self.train:
                raise ValueError(
                    f"labels is {self.labels} but train is true: set train to false for a checkpoint that is ready; the"
                    " rows of a head that is trained have names in model.config, as id2label"
                )
        if self.train or self.source != "model":
            return self
        if self.model.path is None:
            raise ValueError("train is false but model.path is null: random weights teach nothing: name a checkpoint")
        if self.label_noise:
            raise ValueError(
                f"label_noise is {self.label_noise:g} but train is false, so no label is read: set it to 0"
            )
        if "id2label" in self.model.config:
            raise ValueError("model.config has id2label but train is false: name the rows of the head in labels")
        return self


def _check_start(section: Student | Link) -> None:
    if section.init == "pretrained" and section.model.path is None:
        raise ValueError("init is 'pretrained' but model.path is null: name a checkpoint, or init: random")
    shaped = section.model.path is not None or "model_type" in section.model.config
    if section.init != "teacher_layers" and not shaped:
        raise ValueError("model.path is null and model.config has no model_type: name a checkpoint or a shape")
    if not shaped and section.num_layers is None and isinstance(section.layers, str):
        raise ValueError("num_layers is null: say how many of the teacher's layers the student takes")


class Student(Training):
    """The model that learns; fine-tuned by itself for reference and as a start for distillation."""

    model: Model
    layers: LayerMap
    num_layers: Count | None
    init: Literal["pretrained", "teacher_layers", "random"]
    tokenizer: ModelTokenizer
    label_noise: Share
    seed: Seed

    @model_validator(mode="after")
    def _start_is_possible(self) -> Student:
        _check_start(self)
        return self


class Link(Section):
    """An assistant in the chain from teacher to student; its `init` refers to the model before it."""

    model: Model
    layers: LayerMap
    num_layers: Count | None
    init: Literal["pretrained", "teacher_layers", "random"]

    @model_validator(mode="after")
    def _start_is_possible(self) -> Link:
        _check_start(self)
        if isinstance(self.layers, list) and self.num_layers not in (None, len(self.layers)):
            raise ValueError(f"num_layers is {self.num_layers} but layers names {len(self.layers)}: say it once")
        if self.init == "teacher_layers" and self.model.path is not None:
            raise ValueError(
                f"model.path is {self.model.path!r} but init 'teacher_layers' copies the model before it in the chain:"
                " set model.path to null, or choose another init"
            )
        return self


class Assistant(Training):
    """The models between teacher and student, and how each learns from the one before it."""

    chain: Annotated[list[Link], Field(min_length=1)]
    task_weight: LinkWeight
    kl_alpha: LinkWeight
    temperature: Annotated[float, Field(gt=0)]
    seed: Seed


class Filters(Training):
    """Stage I of TED: one filter per selected layer, trained on a frozen backbone."""

    filter_interval: Count
    filter_output_dim: Count
    nonlinear: bool
    activation: Literal["gelu", "relu", "tanh"]
    backbone_dropout: bool
    head_dropout: Fraction
    seed: Seed


class Generator(Training):
    """The masked language model that changes words of training texts; no score decides about it."""

    model: Model
    train: bool
    mask_probability: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed

    @model_validator(mode="after")
    def _can_wait(self) -> Generator:
        return self  # a patience of section `training` is not for a training without a score

    @model_validator(mode="after")
    def _can_be_had(self) -> Generator:
        if self.model.path is None and "model_type" not in self.model.config:
            raise ValueError("model.path is null and model.config has no model_type: name a checkpoint or a shape")
        if self.model.path is None and not self.train:
            raise ValueError("train is false but model.path is null: random weights propose nothing: name a checkpoint")
        if self.evaluations:
            raise ValueError(f"evaluations is {self.evaluations}, but nothing scores a generator: set 0 and keep: last")
        return self


class Distill(Training):
    """One setting for all methods, so that they differ in nothing but the method."""

    init: Init
    label_noise: Share
    transfer_share: Share
    spread_weight: Annotated[float, Field(ge=0)]


class Quantization(Training):
    """Training of a student that loses too much in int8, by its own logits in float32; labels do not count."""

    train: bool
    temperature: Annotated[float, Field(gt=0)]
    seed: Seed

    @model_validator(mode="after")
    def _can_wait(self) -> Quantization:
        return super()._can_wait() if self.evaluations and self.train else self  # unscored, it waits for nothing


class Predict(Section):
    """Teacher predictions over the training features."""

    batch_size: Count
    precision: Precision


class Cache(Section):
    """The teacher's hidden states that are kept on disk."""

    max_gb: Annotated[float, Field(ge=0)]
    dtype: Literal["float32", "float16"]


class Retrieve(Section):
    """Neighbours of the training texts."""

    candidates: Count
    pool: str


class Augment(Section):
    """Copies of the training texts with words replaced, and the methods that learn from them too."""

    methods: list[str]
    copies: Count
    probability: Annotated[float, Field(gt=0, le=1)]
    candidates: Count
    batch_size: Count
    precision: Precision
    seed: Seed
