"""All of params.yaml as one type."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    model_validator,
)

from distill.config import (
    comparison,
    data_checks,
    ensemble,
    model_tokenizers,
    teacher_checks,
    training_checks,
)
from distill.config.comparison import Compare, Confirm, Controls
from distill.config.data import Data
from distill.config.ensemble import Ensemble
from distill.config.machine import Runtime, Tracking
from distill.config.schema import (
    Assistant,
    Atlas,
    Augment,
    Cache,
    Distill,
    Features,
    Filters,
    Generator,
    Predict,
    Quantization,
    Retrieve,
    Section,
    Seed,
    Student,
    Teacher,
    TrainingDefaults,
)
from distill.config.scoring import Cost, Evaluate, Export
from distill.config.variants import Variant


class Params(Section):
    """All of params.yaml.

    Attributes:
        methods: names of methods and of variants, in the order of the table.
        sections: the settings of every method, by its name; and of every variant, complete.
        variants: name → method, the settings of its training, and which checkpoint of the teacher teaches.
        members: the teachers of an ensemble by name: section `teacher` with the member's changes.
    """

    methods: list[str]
    seeds: list[Seed]
    task: Literal["qa", "classification", "regression", "multi_label", "token_classification", "ranking"]
    atlas: Atlas
    data: Data
    features: Features
    training: TrainingDefaults
    teacher: Teacher
    ensemble: Ensemble
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
    confirm: Confirm
    controls: Controls
    cost: Cost
    export: Export
    quantization: Quantization
    runtime: Runtime
    tracking: Tracking
    sections: dict[str, Any]
    variants: dict[str, Variant]
    members: dict[str, Teacher]

    def seeds_of(self, name: str) -> list[int]:
        """The seeds of a name in `methods`: the baseline may have further ones after those of all."""
        further = self.compare.baseline_seeds if name == self.compare.baseline else []
        return [*self.seeds, *further]

    def method_of(self, name: str) -> str:
        """The method of a name in `methods`: that of a variant, or the name itself."""
        return self.variants[name].method if name in self.variants else name

    def snapshot_of(self, name: str) -> int | None:
        """The number of the checkpoint of the teacher's training that teaches a listed name; None: the teacher."""
        return self.variants[name].teacher_snapshot if name in self.variants else None

    def resolved(self, name: str) -> Params:
        """The parameters of a listed name: those of a variant stand in its method's section and in `distill`."""
        if name not in self.variants:
            return self
        variant = self.variants[name]
        sections = {**self.sections, variant.method: self.sections[name]}
        return self.model_copy(update={"sections": sections, "distill": variant.distill})

    def as_member(self, name: str) -> Params:
        """The parameters in which a member of the ensemble is the teacher."""
        return self.model_copy(update={"teacher": self.members[name]})

    @model_validator(mode="after")
    def _combinations(self) -> Params:
        data_checks.check(self)
        ensemble.check(self)
        teacher_checks.check(self)
        training_checks.check(self)
        names = self.methods
        for field, listed in (("methods", names), ("augment.methods", self.augment.methods)):
            if twice := sorted({name for name in listed if listed.count(name) > 1}):
                raise ValueError(f"{field}: {twice[0]!r} is listed twice: list each method once")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds: {self.seeds}: give at least one seed, each once")
        for field, values in (("methods", self.export.methods), ("seeds", self.export.seeds)):
            if len(set(values)) != len(values):
                raise ValueError(f"export.{field}: {values}: give each once")
        for field, listed in (("augment.methods", self.augment.methods), ("export.methods", self.export.methods)):
            if strange := [name for name in listed if name not in names]:
                raise ValueError(
                    f"{field}: {strange[0]!r} is not trained: add it to methods {names}, or take it out of {field}"
                )
        if self.export.methods and (untrained := [seed for seed in self.export.seeds if seed not in self.seeds]):
            raise ValueError(f"export.seeds: {untrained[0]} is not among seeds {self.seeds}: choose one of them")
        comparison.check(self)
        if self.distill.init == "pretrained" and self.student.model.path is None:
            raise ValueError("distill.init is 'pretrained' but student.model.path is null: name a checkpoint")
        copies = "teacher_layers" in (self.student.init, self.distill.init)
        if copies and self.student.model.path is not None:
            raise ValueError(
                f"student.model.path is {self.student.model.path!r} but init 'teacher_layers' copies the teacher: set"
                " student.model.path to null, or choose another init"
            )
        model_tokenizers.check(self)
        return self
