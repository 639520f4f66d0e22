"""Stage plan: what the listed methods need from earlier stages. `python -m pipeline.plan`

A file for each artifact says whether any method needs it (see `pipeline.needs`). It does not change when a second
method of the same kind is listed, so that nothing is made twice. `states.json` says which of the teacher's hidden
states the methods read.
"""

from __future__ import annotations

from collections.abc import Sequence

from distill import config, layer_maps, registry
from distill.config import Params
from distill.errors import UserError
from distill.filters import selected_layers
from distill.states import GROUPS, Reads
from pipeline import common, needs, views
from pipeline.stage import Stage, run_stage

# What decides which hidden states methods read, besides each method's `layer_fields`.
LAYERS = [
    *("teacher.model", "student.model", "student.init", "student.layers", "student.num_layers", "distill.init"),
    *("teacher_filters.filter_interval", "teacher_filters.backbone_dropout"),
]


def main() -> None:
    """Reads parameters, and at most the configuration of a checkpoint."""
    params = common.params()
    files = {name: needs.file(name) for name in needs.NEEDED_BY}
    readers = [name for group in GROUPS for name in params.methods[group]]
    used = config.pick(params, ["methods", *LAYERS, *layer_fields()])
    with Stage("plan", params=used, outputs=[*files.values(), needs.file("states")], method=readers) as stage:
        for name, groups in needs.NEEDED_BY.items():
            stage.write_json(files[name], {"needed": any(params.methods[group] for group in groups)})
        stage.write_json(needs.file("states"), {name: vars(layers) for name, layers in reads(params, readers).items()})


def layer_fields() -> list[str]:
    """The parameters of methods that decide which layers they read: `pkd.layer_map` and others."""
    return [f"{name}.{field}" for name in registry.available() for field in registry.load(name).layer_fields]


def reads(params: Params, listed: Sequence[str]) -> dict[str, Reads]:
    """What each method reads of the teacher's hidden states, and what the training of its filters does.

    All methods that could read are named, with nothing where they are not listed: listing one that reads nothing then
    changes nothing, and the teacher is not run again.
    """
    known = [name for name in registry.available() if set(registry.load(name).groups) & set(GROUPS)]
    found = dict.fromkeys([*known, views.FILTERS], Reads())
    if listed:
        counts = {role: depth(params, role) for role in ("student", "teacher")}
        found |= {name: registry.load(name).reads(params, **counts) for name in listed}
        section = params.teacher_filters
        # With dropout in the backbone no two passes are the same.
        if params.methods["filtered"] and not section.backbone_dropout:
            layers = selected_layers(counts["teacher"], section.filter_interval, "teacher")
            found[views.FILTERS] = Reads.of("hidden", layers)
    return dict(sorted(found.items()))


def depth(params: Params, role: str) -> int:
    """A model's number of layers before it is there.

    Raises:
        UserError: nothing says it, or the checkpoint that would cannot be read.
    """
    known = layer_maps.stated_layers(params, role)
    if known is not None:
        return known
    from distill import models

    spec = getattr(params, role).model
    if spec.path is not None:
        return models.num_layers(models.configuration(spec.path, spec.revision, where=role))
    if "model_type" in spec.config:
        return models.num_layers(models.AutoConfig.for_model(**spec.config))
    raise UserError(f"params.yaml: {role}.num_layers: null: say how many of the teacher's layers the {role} takes")


if __name__ == "__main__":
    run_stage(main)
