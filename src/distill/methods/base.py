"""What a distillation method is, and the objective that the trainer optimises for every one of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from distill.augmentation.candidates import Candidates
from distill.augmentation.samples import Changed
from distill.config.params import Params
from distill.config.schema import Section, Training
from distill.errors import UserError
from distill.losses.weights import Rest, ScheduledWeight
from distill.methods.shared.filters import FilterBank
from distill.models import layer_maps
from distill.models.forward import Outputs, counted, forward_pass
from distill.models.layer_maps import Counts
from distill.models.predict import forward_of
from distill.signals.states import Reads
from distill.signals.teacher import OnlineTeacher, Teacher
from distill.tasks.base import Task, labelled
from distill.training.objective import Objective, Phase, Progress

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

#: The term of the labels, in every method that reads them.
TASK = "task"
# The model whose outputs a method learns from; see `Method.taught_by`.
Source = Literal["teacher", "student", "assistant", "generation"]


@dataclass
class Setup:
    """What a method is constructed from: the task, both models' configurations, and what other stages made for it.

    `features` are the training features (`datasets.Dataset`), with their labels as they are trained on.
    """

    task: Task
    student: PretrainedConfig
    teacher: PretrainedConfig
    seed: int = 0
    tokenizer: PreTrainedTokenizerBase | None = None
    student_filters: FilterBank | None = None
    teacher_filters: FilterBank | None = None
    generator: PreTrainedModel | None = None
    candidates: Candidates | None = None
    features: Any = None


class Method(nn.Module):
    """Loss terms between a student and its teacher; parameters that it registers train with the student.

    A subclass says here, and nowhere else, what it needs: `Config` (its section of params.yaml), `needs` (what its
    teacher supplies: any of `logits`, `cls` (first token's hidden states), `hidden`, `attention`, `qkv` (queries, keys
    and values) and `model`, the teacher itself), `taught_by` (which model that teacher is) and `artifacts` (what other
    stages make for it). Stages, plan, costs and error messages follow from that. Where `needs` depends on parameters,
    `__init__` sets `self.needs` to fewer of them.

    Most methods are `terms` and `weights`. One that runs a model more than once overrides `compute`; one that trains in
    phases, `phases`; one that trains something besides the student with steps of its own, `trainer_steps`,
    `updates_in` and `learning_rates`. What a method remembers between updates is a parameter or a registered buffer, or
    depends on `progress` and `setup.seed` alone: a killed run then resumes as if it had never stopped.
    """

    Config: ClassVar[type[Section]]
    needs: frozenset[str] = frozenset()
    #: `teacher`; `student`: the fine-tuned student; `assistant`: the last of the chain; `generation`: the previous one.
    taught_by: ClassVar[Source] = "teacher"
    #: Keys of `requirements.ARTIFACTS`: filters, assistant, generator, candidates, snapshots.
    artifacts: ClassVar[tuple[str, ...]] = ()
    #: Which models, `student` or `teacher`, it runs on word embeddings in place of tokens.
    on_embeddings: ClassVar[tuple[str, ...]] = ()
    #: Whether it may learn from augmented copies of the training texts (params.yaml: augment.methods).
    copies: ClassVar[bool] = False
    #: Tasks that it cannot learn → why, as the end of "task NAME: …".
    unfit: ClassVar[Mapping[str, str]] = MappingProxyType({})
    #: The fields of `Config` that stage plan depends on, in `reads`, `fits`, `suits`, `takes` or `check_classes`.
    layer_fields: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Section, setup: Setup):
        super().__init__()
        self.check_task(setup.task.name)
        self.config = config
        self.task = setup.task
        self.seed = setup.seed
        self.phase = 0
        self.progress = Progress(0, 1, 0)

    @classmethod
    def check_task(cls, task: str) -> None:
        """Raise a UserError where the method cannot learn a task (`unfit`)."""
        if why := cls.unfit.get(task):
            name = cls.__module__.rpartition(".")[2]
            raise UserError(f"params.yaml: methods: {name!r}: task {task}: {why}: take it out of methods")

    @classmethod
    def check(cls, params: Params) -> None:
        """Raise a ValueError or UserError where parameters cannot work together: before any stage runs.

        This implementation calls `fits` with the numbers that the parameters state; a method that overrides both does
        so too, and one that overrides `check_classes` calls that with `class_rows.stated(params)`.
        """
        cls.fits(params, functools.partial(layer_maps.stated, params))

    @classmethod
    def check_classes(cls, params: Params, classes: int | None) -> None:
        """Raise a UserError where a setting means nothing for a task, or for so many classes.

        Stage plan calls this again, before anything is trained, with the number of classes in the data. Name the
        parameters that it reads in `layer_fields`.

        Args:
            classes: number of classes of a choice; None where it is not known yet, or the task has none.
        """

    @classmethod
    def fits(cls, params: Params, count: Counts) -> None:
        """Raise a UserError where the method cannot pair models with these numbers of layers or heads.

        Stage plan calls this again, with the numbers in the checkpoints' configurations.

        Args:
            count: function from (`student` or `teacher`, `layers` or `heads`) to their number; None where it is not
                known yet. Call it only for what the method needs: an answer may need the hub.
        """

    @classmethod
    def suits(cls, params: Params, configuration: Callable[[str], PretrainedConfig]) -> None:
        """Raise a UserError where the method cannot compare models of these architectures or widths.

        Stage plan calls this, before anything is trained. Name the parameters that it reads in `layer_fields`.

        Args:
            configuration: function from `student` (as distillation starts from it) or `teacher` to the model's
                configuration. Call it only where the method needs it: an answer may need the hub.
        """

    @classmethod
    def takes(cls, params: Params, role: str) -> frozenset[str]:
        """What the method takes of a model besides its logits: stage plan tries whether the architecture gives it.

        Args:
            role: `student` or `teacher`.

        Returns:
            any of `hidden`, `attention`, `qkv` and `embeddings` (see `distill.models.architecture.Use`).
        """
        if role == "teacher" and cls.taught_by != "teacher":
            return frozenset()
        states = {"hidden" if need == "cls" else need for need in cls.needs - {"logits", "model"}}
        return frozenset(states | ({"embeddings"} if role in cls.on_embeddings else set()))

    @classmethod
    def needs_labels(cls, params: Params) -> str:
        """Why the method cannot be run without any labelled row; empty: it can.

        What it learns from a teacher it learns from texts without labels too; the task loss is left out there.
        """
        if not cls.needs:
            return "it learns from labels alone"
        if cls.taught_by in ("student", "generation"):
            return "its teacher is the fine-tuned student, which labels train"
        return "its filters are trained on labels" if "filters" in cls.artifacts else ""

    @classmethod
    def chooses(cls, params: Params) -> bool:
        """Whether a selection score decides which weights are the student, so that evaluate.metric changes it.

        A method whose phases ask for `keep: best` overrides it.
        """
        return params.distill.chooses

    @classmethod
    def learns_from_logits_alone(cls) -> bool:
        """Whether it learns of the teacher no more than its logits over the training features, so that any will do."""
        return cls.needs == {"logits"} and cls.taught_by == "teacher" and not cls.artifacts

    @classmethod
    def reads(cls, params: Params, student: int, teacher: int) -> Reads:
        """The teacher's states that the method reads, which an earlier stage caches; empty: the teacher runs along.

        Args:
            student, teacher: numbers of layers.
        """
        return Reads()

    @classmethod
    def start(cls, params: Params) -> str:
        """How the student is initialised (`distill.init`, for methods that are compared on equal terms)."""
        return params.distill.init

    @classmethod
    def training_seed(cls, config: Section, seed: int) -> int:
        """Seed of the student's initialisation and training; not the run's seed where a run trains several students."""
        return seed

    def remarks(self, params: Params, epochs: float) -> list[str]:
        """Warnings to print before training, about settings that weaken the method.

        Args:
            epochs: passes over the training features that the training makes; may be a fraction.
        """
        return []

    @property
    def columns(self) -> Sequence[str]:
        """Ragged columns of the features that a batch must have besides tokens and labels."""
        return ()

    def phases(self, training: Training) -> list[Phase]:
        """The phases of the training; `self.phase` counts them from 0."""
        return [Phase("", 1.0)]

    def trainer_steps(self, updates: int) -> int:
        """Steps of the trainer in which the student gets `updates` updates."""
        return updates

    def updates_in(self, steps: int) -> int:
        """Updates of the student in the first `steps` steps of the trainer."""
        return steps

    def learning_rates(self) -> dict[str, float]:
        """Learning rates of parameters that the method registers, by prefix of their names."""
        return {}

    def compute(self, batch: dict[str, Tensor], student: PreTrainedModel, teacher: Teacher | None) -> dict[str, Tensor]:
        """Unweighted loss terms of a batch: both models run once, and `terms` compares them."""
        hidden = bool(self.needs & {"hidden", "cls"})
        further = {need: need in self.needs for need in ("attention", "qkv")}
        outputs = forward_pass(student, self.task, batch, hidden=hidden, **further)
        return self.terms(batch, outputs, teacher(batch) if self.needs else None)

    def changed_texts(self, batch: dict[str, Tensor], student: PreTrainedModel) -> Changed | None:
        """The texts that the method learns from beside those of a batch, as at the end of training, to look at.

        None: it changes no text. It is called without gradient, in evaluation mode, with a seed of its own.
        """
        return None

    def terms(self, batch: dict[str, Tensor], student: Outputs, teacher: Outputs | None) -> dict[str, Tensor]:
        """Unweighted loss terms by name, each a scalar."""
        raise NotImplementedError

    def weights(self) -> dict[str, ScheduledWeight | Rest]:
        """The weight of each term, by the same names."""
        raise NotImplementedError


class Distillation(Objective):
    """Student and method as one module to train; the teacher stays outside, it is neither trained nor saved.

    Raises:
        UserError: the teacher signals lack what the method needs.
    """

    def __init__(self, student: PreTrainedModel, method: Method, teacher: Teacher | None):
        super().__init__()
        self.student = student
        self.method = method
        self.columns = method.columns
        self._teacher = [teacher]
        self._weights = method.weights()
        self._done, self._share = 0.0, 1.0  # shares of all updates: before this phase, and in it
        self._passes = dict.fromkeys(("rows", "labelled", "unlabelled", "student", "teacher"), 0)
        provided = teacher.provides if teacher else frozenset()
        if missing := method.needs - provided:
            raise UserError(f"the teacher signals lack {', '.join(sorted(missing))}, which the method needs")

    def phases(self, training: Training) -> list[Phase]:
        self._phases = self.method.phases(training)
        return self._phases

    def begin(self, phase: int) -> None:
        self.method.phase = phase
        self._done = sum(earlier.share for earlier in self._phases[:phase])
        self._share = self._phases[phase].share

    def trainer_steps(self, updates: int) -> int:
        return self.method.trainer_steps(updates)

    def updates_in(self, steps: int) -> int:
        return self.method.updates_in(steps)

    def learning_rates(self) -> dict[str, float]:
        return {f"method.{prefix}": rate for prefix, rate in self.method.learning_rates().items()}

    def scored_logits(self, batch: dict[str, Tensor]) -> Tensor:
        return forward_of(self.student, self.method.task)(batch)

    def companions(self) -> list[PreTrainedModel]:
        return [self._teacher[0].model] if isinstance(self._teacher[0], OnlineTeacher) else []

    def set_progress(self, progress: Progress) -> None:
        self.method.progress = progress

    def weights(self) -> dict[str, float]:
        """Schedules follow the share of all updates."""
        share = self._done + self._share * self.method.progress.share
        return {name: weight.at(share) for name, weight in self._weights.items()}

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """`loss`, the weighted sum, and every unweighted term by name (not detached)."""
        with counted() as rows:
            terms = self.method.compute(batch, self.student, self._teacher[0])
        weights = self.weights()
        # The steps of a generator climb: the student learns nothing in them.
        self._count(batch, rows, TASK in terms and weights[TASK] > 0, any(weights[name] > 0 for name in terms))
        total = torch.zeros((), device=next(iter(terms.values())).device)
        for name, term in terms.items():
            total = total + weights[name] * term
        return {"loss": total, **terms}

    def passes(self) -> dict[str, int]:
        """Rows of the training data, by what for.

        All of them (`rows`); those whose labels count (`labelled`); those without labels that the student learns from
        (`unlabelled`); rows that pass the student, and a teacher that runs.
        """
        return dict(self._passes)

    def _count(
        self, batch: Mapping[str, Tensor], rows: Mapping[PreTrainedModel, int], reads_labels: bool, learns: bool
    ) -> None:
        size, teacher = len(batch["input_ids"]), self.companions()
        known = int(labelled(batch, self.method.task.labels).sum())
        passed = rows.get(self.student, 0), sum(rows.get(model, 0) for model in teacher)
        counts = (size, known * reads_labels, (size - known) * learns, *passed)
        self._passes = {name: count + more for (name, count), more in zip(self._passes.items(), counts, strict=True)}
