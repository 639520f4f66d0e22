"""What methods do with a family of models: each runs between two tiny models of random weights of the family."""

from __future__ import annotations

import functools
import re
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM, PreTrainedModel

from distill import parameters
from distill.augmentation.candidates import Candidates
from distill.config import reading
from distill.config.params import Params
from distill.errors import UserError
from distill.experiments import presets
from distill.methods import registry
from distill.methods.base import Distillation, Method, Setup
from distill.methods.shared.filters import FilterBank
from distill.models import architecture, loading
from distill.models.forward import Outputs
from distill.signals.teacher import OnlineTeacher
from distill.tasks.base import Task
from distill.training.objective import Progress
from tests.helpers import families, micro
from tests.helpers.neighbours import Memory

#: Methods that have a column of the page each.
SHOWN = ("ft", "kd", "lwd", "ted", "pkd", "relation", "tinybert", "mate")
#: What padding may move, relative to a term: rounding.
_ROUNDING = 1e-3
# The first number in a parameter's name is its layer: in ALBERT's single group, too.
_LAYER = re.compile(r"\.(\d+)\.")


@functools.cache
def _values(task: str) -> dict[str, Any]:
    """params.yaml for a task: as it is, or with the preset of the embedded corpus that changes least of it."""
    text = (micro.ROOT / "tests/params.yaml").read_text(encoding="utf-8")
    usual = reading.parse(text, "params.yaml")
    if usual["task"] == task:
        return usual
    embedded = [presets.load(name) for name in presets.names() if name.startswith("embedded-")]
    fitting = [values for values in embedded if values.get("task") == task]
    fewest = min(fitting, key=lambda values: len(presets.changes(text, values)))
    return reading.parse(presets.merge(text, fewest), task)


@functools.cache
def params(task: str, method: str) -> Params:
    """The project's parameters for a task and a method.

    Raises:
        UserError: the method refuses the task, or these parameters.
    """
    changes = {"methods": [method], "augment": _values(task)["augment"] | {"methods": []}}
    compare = _values(task)["compare"] | {"baseline": method}
    if "snapshots" in registry.load(method).artifacts:
        changes["teacher"] = _values(task)["teacher"] | {"snapshots": 2}
    return parameters.parse(_values(task) | changes | {"compare": compare}, micro.ROOT / "tests/params.yaml")


@functools.cache
def fits_task(name: str, task: str) -> bool:
    """Whether a method with its default parameters learns a task at all, whatever the family."""
    try:
        params(task, name)
    except UserError:
        return False
    return True


@functools.cache
def _kind(name: str) -> tuple[Any, ...]:
    """What a method does with models: methods with the same get on with the same families."""
    method, chosen = registry.load(name), params("classification", name)
    taken = method.takes(chosen, "student") | method.takes(chosen, "teacher")
    return "cls" in method.needs, taken, "filters" in method.artifacts, bool(method.needs) or bool(taken)


@functools.cache
def columns() -> dict[str, list[str]]:
    """A method for each column of the page → the methods that it stands for, itself among them."""
    found = {name: [name] for name in SHOWN}
    for name in registry.available():
        if name not in found:
            alike = next((shown for shown in found if _kind(shown) == _kind(name)), name)
            found.setdefault(alike, []).append(name)
    return found


class Pair:
    """A tiny student and its teacher, of one family.

    Args:
        family: a key of `families.SHAPES`.
        template: the family whose tokenizer both read by.
        batch: rows of the task, padded.
        student: a model of the family, in evaluation mode.
    """

    def __init__(self, family: str, task: Task, template: str, batch: dict[str, Tensor], student: PreTrainedModel):
        self.family, self.task, self.batch, self.student = family, task, batch, student
        self.tokenizer, self.teacher = families.tokenizer(template), families.model(family, task, seed=1)
        loading.silence_padding(self.teacher, 0)
        self.small = architecture.small(self.student.config, task)
        self._tried: dict[tuple[str, frozenset[str]], str] = {}

    def refusal(self, name: str) -> str:
        """Why stage plan refuses a method between two models of the family; empty: it does not."""
        kind, chosen = registry.load(name), params(self.task.name, name)
        try:
            kind.suits(chosen, lambda role: self.student.config)
        except UserError as error:
            return str(error)
        each = [self._refused(role, kind.takes(chosen, role)) for role in ("student", "teacher")]
        return next((reason.replace("NAME", name) for reason in each if reason), "")

    def _refused(self, role: str, takes: frozenset[str]) -> str:
        """Many methods take the same."""
        if (role, takes) not in self._tried:
            try:
                architecture.check_use(self.small, self.task, architecture.Use("NAME", role, takes))
                self._tried[role, takes] = ""
            except UserError as error:
                self._tried[role, takes] = str(error)
        return self._tried[role, takes]

    def check(self, name: str) -> None:
        """Every kind of step of a method has finite terms that padding does not move, and reaches the outermost layers.

        Raises:
            AssertionError: one does not.
        """
        kind, chosen = registry.load(name), params(self.task.name, name)
        torch.manual_seed(0)
        method = kind(chosen.sections[name], self._setup(kind))
        needs = method.needs
        further = {need: need in needs for need in ("attention", "qkv")}
        teacher = OnlineTeacher(self.teacher, self.task, bool(needs & {"hidden", "cls"}), "fp32", **further)
        if "snapshots" in kind.artifacts:
            teacher = _Snapshots(teacher)
        objective = Distillation(self.student, method, teacher if needs else None).eval()
        self.student.zero_grad()
        moved: set[str] = set()
        for phase in range(len(objective.phases(chosen.distill))):
            objective.begin(phase)
            cycle = getattr(method, "cycle", None)
            for step in (0, cycle.generator) if cycle and not phase else (0,):
                objective.set_progress(Progress(step, 1000, 0))
                narrow, wide = (self._terms(objective, by) for by in (0, 16))
                for term in narrow:
                    value, padded = narrow[term].item(), wide[term].item()
                    where = f"{self.family}: {name}: {term}: {value}, padded {padded}"
                    assert np.isfinite(value) and abs(value - padded) <= _ROUNDING * abs(value) + 1e-6, where
                narrow["loss"].backward()
                moved |= {name for name, p in objective.named_parameters() if p.grad is not None and p.grad.any()}
        if name == "rw_kd" and not moved:
            return  # its weights of three rows may all be 0
        layers = {int(match[1]) for name in moved if name.startswith("student.") and (match := _LAYER.search(name))}
        every = {int(match[1]) for name, _ in self.student.named_parameters() if (match := _LAYER.search(f".{name}"))}
        assert {min(every), max(every)} <= layers, f"{self.family}: {name}: gradients in layers {layers} of {every}"

    def _terms(self, objective: Distillation, further: int) -> dict[str, Tensor]:
        torch.manual_seed(4)
        return objective(**padded(self.batch, further))

    def _setup(self, kind: type[Method]) -> Setup:
        config = self.student.config
        setup = Setup(self.task, config, self.teacher.config, 0, self.tokenizer, features=self._rows())
        if "filters" in kind.artifacts:
            layers = list(range(1, config.num_hidden_layers + 1))
            setup.student_filters, setup.teacher_filters = (
                FilterBank(layers, config.hidden_size, 8, True, "gelu") for _ in range(2)
            )
        if "generator" in kind.artifacts:
            setup.generator = _generator()
        if "candidates" in kind.artifacts:
            setup.candidates = self._candidates()
        return setup

    def _rows(self) -> datasets.Dataset:
        """The batch's rows as features."""
        width, lengths = self.batch["input_ids"].shape[1], self.batch["attention_mask"].sum(1).tolist()
        names = [name for name in ("input_ids", "token_type_ids", *self.task.labels) if name in self.batch]
        rows = [
            {"length": n} | {name: _of_row(self.batch[name][i], n, width) for name in names}
            for i, n in enumerate(lengths)
        ]
        return datasets.Dataset.from_list(rows)

    def _candidates(self) -> Candidates:
        """The batch's own rows, each a neighbour of all."""
        rows = self._rows()
        offsets = np.cumsum([0, *(rows["length"] if self.task.per_token else [1] * len(rows))])
        logits = np.random.default_rng(0).normal(size=(offsets[-1], self.task.channels)).astype(np.float32)
        places = np.array([np.arange(8) % len(rows)] * len(rows), np.int32)
        memory = Memory(logits, offsets, self.task.per_token)
        return Candidates(rows, memory, places, self.task, 0)


class _Snapshots:
    """A teacher whose one checkpoint is itself."""

    provides = frozenset({"logits"})

    def __init__(self, teacher: OnlineTeacher):
        self.teacher = teacher

    def __len__(self) -> int:
        return 1

    def of(self, number: int, batch: dict[str, Tensor]) -> Outputs:
        return self.teacher(batch)


def _of_row(value: Tensor, length: int, width: int) -> Any:
    return (value[:length] if value.shape[:1] == (width,) else value).tolist()


def padded(batch: dict[str, Tensor], further: int) -> dict[str, Tensor]:
    """The batch with more padding."""
    width, fills = batch["input_ids"].shape[1], {"input_ids": 0, "token_type_ids": 0, "attention_mask": 0}
    return {
        name: torch.nn.functional.pad(value, (0, further), value=fills.get(name, -100 if "label" in name else -1))
        if value.dim() == 2 and value.shape[1] == width
        else value
        for name, value in batch.items()
    }


@functools.cache
def _generator() -> PreTrainedModel:
    torch.manual_seed(3)
    return AutoModelForMaskedLM.from_config(families.config("bert")).eval()
