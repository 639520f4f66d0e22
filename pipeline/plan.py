"""Stage plan: what the listed methods need from earlier stages, and whether they can run. `python -m pipeline.plan`

A file for each artifact says whether any method needs it; it does not change when a second method that needs it is
listed, so that nothing is made twice. `states.json` says which of the teacher's hidden states the methods and the
training of filters read, `signals.json` what each listed method asks stage signals for. Before anything is trained,
the stage refuses settings that mean nothing for as many classes as the data have, pairs of models that a listed method
cannot combine, methods that need a model where the teacher is known by its outputs alone or reads tokens of its own,
and models with another vocabulary; what the parameters do not say, it reads from the data and the checkpoints.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from distill.config import ensemble, model_tokenizers
from distill.config.params import Params
from distill.config.schema import Model
from distill.errors import UserError
from distill.methods import outputs_only, own_tokens, registry, requirements
from distill.methods.shared import class_rows
from distill.methods.shared.filters import selected_layers
from distill.models import layer_maps
from distill.models.shape import FAMILY_FIELDS, num_layers
from distill.signals.manifest import Request
from distill.signals.states import KINDS, Reads
from pipeline.launch.run import run_stage
from pipeline.stage import artifacts, paths
from pipeline.stage.definition import define
from pipeline.stage.stage import Stage

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from distill.models.architecture import Use


def main() -> None:
    """Reads parameters, the names of the data's classes, and at most configurations and tokenizers of checkpoints."""
    params = paths.params()
    with Stage(define("plan"), params, tracked=False) as stage:
        outputs_only.check(params)
        check_classes(params)
        check_pairs(params)
        check_vocabularies(params)
        check_architectures(params)
        check_copies(params)
        asked = requests(params)
        if tokenizers_differ(params):
            own_tokens.check(params, asked)
        for artifact, needed in requirements.needed(params).items():
            stage.write_json(artifacts.file(artifact), {"needed": needed})
        states = {name: vars(reads) for name, reads in readers(params, asked).items()}
        stage.write_json(artifacts.STATES, states)
        stage.write_json(artifacts.REQUESTS, {name: asdict(request) for name, request in asked.items()})


def requests(params: Params) -> dict[str, Request]:
    """What each listed name asks stage signals for."""
    counts = Counts({role: functools.partial(number_of, params, role) for role in ("student", "teacher")})
    return {name: requirements.request(name, params, counts) for name in params.methods}


class Counts(dict):
    """Numbers of layers by role, each looked up when it is first read: that may load a configuration from the hub."""

    def __getitem__(self, role: str) -> int:
        value = super().__getitem__(role)
        if callable(value):
            self[role] = value = value("layers")
        return value


def check_classes(params: Params) -> None:
    """Refuse settings of a listed method that mean nothing for as many classes as the data have.

    Raises:
        UserError: the method refuses them, or the prepared data are damaged.
    """
    from distill.data.loading.prepared import Prepared
    from distill.tasks.registry import load_task

    classes = class_rows.counted(load_task(params.task, labels=Prepared(paths.PREPARED).meta.get("labels", ())))
    for name in params.methods:
        registry.load(params.method_of(name)).check_classes(params.resolved(name), classes)


def check_pairs(params: Params) -> None:
    """Refuse pairs of models that a listed method cannot combine.

    Raises:
        UserError: the method refuses the pair, or the number of layers of a model is unknown.
    """
    count = functools.cache(functools.partial(number_of, params))
    for name in params.methods:
        kind, resolved = registry.load(params.method_of(name)), params.resolved(name)
        kind.fits(resolved, count)
        kind.suits(resolved, functools.partial(shape_of, resolved))


def shape_of(params: Params, role: str) -> PretrainedConfig:
    """The configuration of the teacher, or of the student as distillation starts from it.

    Its number of layers is not to be relied on where a student is made of the teacher's layers.
    """
    copied = role == "student" and layer_maps.is_copied(params)
    where = "teacher" if copied else role
    return configuration_of(getattr(params, where).model, where)


def tokenizers_differ(params: Params) -> bool:
    """Whether the teacher may read other tokens than the student.

    Two that are trained with other parameters count as different: the data decides, and is not there yet.

    Raises:
        UserError: a tokenizer cannot be loaded.
    """
    teacher, student = (model_tokenizers.of(params, role) for role in ("teacher", "student"))
    if teacher == student or params.teacher.source == "predictions":
        return False
    if teacher.path is None or student.path is None:
        return True
    from distill.data.loading import tokenizer as tokenizers

    prints = {
        tokenizers.fingerprint(tokenizers.load(own.path, own.revision, model_tokenizers.field(params, role)))
        for role, own in (("teacher", teacher), ("student", student))
    }
    return len(prints) > 1


def check_vocabularies(params: Params) -> None:
    """Refuse an assistant or a generator with another vocabulary, where a listed method needs it.

    Both read the student's tokens. Stage prepare does so for teacher and student. Where the student's tokenizer is
    trained there are no checkpoints.

    Raises:
        UserError: a tokenizer differs, or cannot be loaded.
    """
    links = enumerate(params.assistant.chain)
    models = {
        "assistant": {f"assistant.chain.{number}.model.path": link.model for number, link in links},
        "generator": {"generator.model.path": params.generator.model},
    }
    needed = requirements.needed(params)
    named = {
        field: model
        for artifact, fields in models.items()
        for field, model in fields.items()
        if needed[artifact] and model.path is not None
    }
    if not named:
        return
    from distill.data.loading import tokenizer as tokenizers

    own = model_tokenizers.of(params, "student")
    tokenizer = tokenizers.load(own.path, own.revision, model_tokenizers.field(params, "student"))
    for field, model in named.items():
        tokenizers.check_same(model.path, model.revision, tokenizer, field)


def check_architectures(params: Params) -> None:
    """Refuse models that compute with padding, do not run in their precision, or cannot give what a method takes.

    All before the first of them is trained. The stages that train them check the models themselves once more, on the
    data's own rows.

    Raises:
        UserError: a model of this architecture cannot be used.
    """
    from distill.augmentation.masked_lm import MaskedLM
    from distill.models import architecture
    from distill.tasks.registry import load_task

    needed, half = requirements.needed(params), requirements.in_half_precision(params)
    task = load_task(params.task, labels=("0", "1"))
    teachers = ensemble.teachers(params)
    specs = {field: (own.teacher.model, task) for field, own in teachers.items()}
    if params.student.init != "teacher_layers":
        specs["student"] = (params.student.model, task)
    for number, link in enumerate(params.assistant.chain if needed["assistant"] else ()):
        if link.init != "teacher_layers":
            specs[f"assistant.chain.{number}"] = (link.model, task)
    if needed["generator"]:
        specs["generator"] = (params.generator.model, MaskedLM())
    uses = uses_of_models(params)
    for where, (spec, task) in specs.items():
        reader = (teachers[where], "teacher") if where in teachers else (params, "student")
        trained_in_half = bool({where, where.split(".")[0]} & half)  # the chain's links have one section
        separators = functools.partial(separators_of, *reader)
        architecture.check(configuration_of(spec, where), task, where, uses.get(where, ()), trained_in_half, separators)


def separators_of(params: Params, role: str) -> int:
    """How many separators a model's tokenizer puts into a pair of texts.

    Raises:
        UserError: the tokenizer cannot be loaded.
    """
    own = model_tokenizers.of(params, role)
    if own.path is None:
        return 2  # BERT's template
    from distill.data.loading import tokenizer as tokenizers

    loaded = tokenizers.load(own.path, own.revision, model_tokenizers.field(params, role))
    return loaded.num_special_tokens_to_add(pair=True) - 1


def check_copies(params: Params) -> None:
    """Refuse students and assistants that cannot be made of the layers of the model that they are to copy.

    Raises:
        UserError: of this architecture or these widths none can be made.
    """
    from distill.models import initialization
    from distill.tasks.registry import load_task

    task = load_task(params.task, labels=("0", "1"))
    if any(layer_maps.is_copied(params.resolved(name)) for name in params.methods) or layer_maps.is_copied(params):
        initialization.check_copy(params.student, configuration_of(params.teacher.model, "teacher"), task, "student")
    before = None
    for number, link in enumerate(params.assistant.chain if requirements.needed(params)["assistant"] else ()):
        where = f"assistant.chain.{number}"
        if link.init == "teacher_layers":
            before = before or configuration_of(params.teacher.model, "teacher")
            before = initialization.check_copy(link, before, task, where)
        else:
            before = configuration_of(link.model, where)


def uses_of_models(params: Params) -> dict[str, list[Use]]:
    """What the listed names do with teacher and student beside reading logits, by the section of the model."""
    from distill.models.architecture import Use

    uses: dict[str, list[Use]] = {}
    for name in params.methods:
        kind, resolved = registry.load(params.method_of(name)), params.resolved(name)
        for role in ("student", "teacher"):
            where = "teacher" if role == "student" and layer_maps.is_copied(resolved) else role
            uses.setdefault(where, []).append(Use(name, role, kind.takes(resolved, role)))
    return uses


def configuration_of(spec: Model, where: str) -> PretrainedConfig:
    """The configuration of a model that is not built yet.

    Raises:
        UserError: the checkpoint that has it cannot be read.
    """
    from distill.models import loading

    if spec.path is not None:
        return loading.configuration(spec.path, spec.revision, spec.config, where)
    return loading.AutoConfig.for_model(**FAMILY_FIELDS.get(spec.config["model_type"], {}) | spec.config)


def readers(params: Params, asked: Mapping[str, Request]) -> dict[str, Reads]:
    """The teacher's hidden states that each method reads, and those that the training of filters reads.

    All methods that can read states are named, with none where they are not listed, and variants count with their
    method: to list one that reads nothing more then changes nothing, and the teacher is not run again.

    Args:
        asked: requests of the listed names.
    """
    possible = [name for name in registry.available() if registry.load(name).needs & set(KINDS)]
    reads = dict.fromkeys([*possible, paths.FILTERS_READER], Reads())
    for name, request in asked.items():
        if (method := params.method_of(name)) in possible:
            reads[method] |= request.states
    section = params.teacher_filters
    # With dropout in the backbone no two passes are the same.
    if requirements.needed(params)["filters"] and not section.backbone_dropout:
        layers = selected_layers(number_of(params, "teacher", "layers"), section.filter_interval, "teacher")
        reads[paths.FILTERS_READER] = Reads.of("hidden", layers)
    return dict(sorted(reads.items()))


def number_of(params: Params, role: str, what: str) -> int | None:
    """Number of layers or heads of a model that is not built yet; None for an architecture without heads.

    Args:
        what: `layers` or `heads`.

    Raises:
        UserError: the number of layers is unknown, or the checkpoint that has it cannot be read.
    """
    stated = layer_maps.stated(params, role, what)
    if stated is not None:
        return stated
    if role == "student" and layer_maps.is_copied(params):
        if what == "layers":
            raise UserError(
                "params.yaml: student.num_layers: null: say how many of the teacher's layers the student takes"
            )
        role = "teacher"  # copied with the layers
    config = configuration_of(getattr(params, role).model, role)
    return num_layers(config) if what == "layers" else getattr(config, "num_attention_heads", None)


if __name__ == "__main__":
    run_stage(main)
