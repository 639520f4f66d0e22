"""Stage plan: what the listed methods need from earlier stages, and whether they can run. `python -m pipeline.plan`

A file for each artifact says whether any method needs it (see `pipeline.stage.artifacts`). It does not change when a
second method of the same kind is listed, so that nothing is made twice. `states.json` says which of the teacher's
hidden states the methods read. Before anything is trained, the stage refuses pairs of models that a listed method
cannot bring
together, and models with a vocabulary of their own: what the parameters do not say, it asks the checkpoints.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from distill.config.params import Params
from distill.config.values import pick
from distill.errors import UserError
from distill.methods import registry
from distill.methods.shared.filters import selected_layers
from distill.models import layer_maps
from distill.parameters import group_of
from distill.signals.states import GROUPS, Reads
from pipeline import views
from pipeline.stage import artifacts, paths
from pipeline.stage.stage import Stage, run_stage

# What decides which hidden states methods read and which models they can pair, besides each method's `layer_fields`.
LAYERS = [
    *("teacher.model", "student.model", "student.init", "student.layers", "student.num_layers", "distill.init"),
    *("teacher_filters.filter_interval", "teacher_filters.backbone_dropout", "student_filters.filter_interval"),
    "assistant.chain",
]
# What decides whether the models of listed methods read the same tokens.
VOCABULARIES = ["features.tokenizer", "generator.model"]


def main() -> None:
    """Reads parameters, and at most configurations and tokenizers of checkpoints."""
    params = paths.params()
    files = {name: artifacts.file(name) for name in artifacts.NEEDED_BY}
    readers = [name for name in params.methods if group_of(params, name) in GROUPS]
    used = pick(params, ["methods", "augment.methods", *LAYERS, *VOCABULARIES, *layer_fields()])
    with Stage("plan", params=used, outputs=[*files.values(), artifacts.file("states")], method=readers) as stage:
        check_pairs(params)
        check_vocabularies(params)
        for name, groups in artifacts.NEEDED_BY.items():
            stage.write_json(files[name], {"needed": listed(params, groups)})
        stage.write_json(
            artifacts.file("states"), {name: vars(layers) for name, layers in reads(params, readers).items()}
        )


def listed(params: Params, groups: Sequence[str]) -> bool:
    """Whether a method of one of the groups is listed."""
    return any(group_of(params, name) in groups for name in params.methods)


def layer_fields() -> list[str]:
    """The parameters of methods that decide which layers they read and can pair: `pkd.layer_map` and others."""
    return [f"{name}.{field}" for name in registry.available() for field in registry.load(name).layer_fields]


def check_pairs(params: Params) -> None:
    """Refuse models that a listed method, of whatever group, cannot bring together.

    Raises:
        UserError: the method's own; or nothing says how many layers a model has.
    """
    count = functools.cache(functools.partial(number_of, params))
    for name in params.methods:
        registry.load(name).fits(params, count)


def check_vocabularies(params: Params) -> None:
    """Refuse an assistant or a generator that reads other tokens, where a listed method needs it.

    Stage prepare does so for teacher and student. Without `features.tokenizer.path` there are no checkpoints.

    Raises:
        UserError: a tokenizer differs, or cannot be loaded.
    """
    links = enumerate(params.assistant.chain)
    models = {
        "assistant": {f"assistant.chain.{number}.model.path": link.model for number, link in links},
        "generator": {"generator.model.path": params.generator.model},
    }
    needed = [name for name in models if listed(params, artifacts.NEEDED_BY[name])]
    named = {field: model for name in needed for field, model in models[name].items() if model.path is not None}
    if not named:
        return
    from distill.data.loading import tokenizer as tokenizers

    own = tokenizers.load(params.features.tokenizer.path, params.features.tokenizer.revision)
    for field, model in named.items():
        tokenizers.check_same(model.path, model.revision, own, field)


def reads(params: Params, listed: Sequence[str]) -> dict[str, Reads]:
    """What each method reads of the teacher's hidden states, and what the training of its filters does.

    All methods that could read are named, with nothing where they are not listed: listing one that reads nothing then
    changes nothing, and the teacher is not run again.
    """
    possible = [name for name in registry.available() if set(registry.load(name).groups) & set(GROUPS)]
    found = dict.fromkeys([*possible, views.FILTERS], Reads())
    if listed:
        counts = {role: number_of(params, role, "layers") for role in ("student", "teacher")}
        found |= {name: registry.load(name).reads(params, **counts) for name in listed}
        section = params.teacher_filters
        # With dropout in the backbone no two passes are the same.
        if listed(params, ["filtered"]) and not section.backbone_dropout:
            layers = selected_layers(counts["teacher"], section.filter_interval, "teacher")
            found[views.FILTERS] = Reads.of("hidden", layers)
    return dict(sorted(found.items()))


def number_of(params: Params, role: str, what: str) -> int | None:
    """A model's number of layers or heads before it is there; None for an architecture without heads.

    Args:
        what: `layers` or `heads`.

    Raises:
        UserError: nothing says how many layers, or the checkpoint that would cannot be read.
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
    from distill.models import loading

    spec = getattr(params, role).model
    if spec.path is not None:
        found = loading.configuration(spec.path, spec.revision, where=role)
    else:
        found = loading.AutoConfig.for_model(**spec.config)
    return loading.num_layers(found) if what == "layers" else getattr(found, "num_attention_heads", None)


if __name__ == "__main__":
    run_stage(main)
