"""Stage plan: what the listed methods need from earlier stages. `python -m pipeline.plan`

DVC runs every stage of dvc.yaml. The stages that only some methods need read a file of this one, and write an empty
artifact where no listed method needs theirs. The files do not change when a second method of the same kind is listed,
so that nothing is made twice. `states.json` says which of the teacher's hidden states the methods read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from distill import config, layer_maps, registry
from distill.config import Params
from distill.errors import UserError
from distill.filters import selected_layers
from distill.states import GROUPS, Reads
from pipeline import common, views
from pipeline.stage import Stage, record_file, run_stage

# The artifacts, and the groups of methods that need them (the augmented copies are written by the generator).
NEEDED_BY = {
    "filters": ["filtered"],
    "assistant": ["assisted"],
    "generator": ["generated", "augmented"],
    "candidates": ["retrieved"],
    "augmented": ["augmented"],
}
EMPTY = "not-needed.json"

# What decides which hidden states methods read, besides each method's `layer_fields`.
LAYERS = [
    *("teacher.model", "student.model", "student.init", "student.layers", "student.num_layers", "distill.init"),
    *("teacher_filters.filter_interval", "teacher_filters.backbone_dropout"),
]


def main() -> None:
    """Reads parameters, and at most the configuration of a checkpoint."""
    params = common.params()
    files = {name: file(name) for name in NEEDED_BY}
    readers = [name for group in GROUPS for name in params.methods[group]]
    used = config.pick(params, ["methods", *LAYERS, *layer_fields()])
    with Stage("plan", params=used, outputs=[*files.values(), file("states")], method=readers) as stage:
        for name, groups in NEEDED_BY.items():
            stage.write_json(files[name], {"needed": any(params.methods[group] for group in groups)})
        found = reads(params, readers) if readers else {views.FILTERS: Reads()}
        stage.write_json(file("states"), {name: vars(layers) for name, layers in found.items()})


def layer_fields() -> list[str]:
    """The parameters of methods that decide which layers they read: `pkd.layer_map` and others."""
    return [f"{name}.{field}" for name in registry.available() for field in registry.load(name).layer_fields]


def reads(params: Params, methods: Iterable[str]) -> dict[str, Reads]:
    """What these methods read of the teacher's hidden states, and what the training of its filters does."""
    counts = {role: depth(params, role) for role in ("student", "teacher")}
    found = {name: registry.load(name).reads(params, **counts) for name in methods}
    section = params.teacher_filters
    # With dropout in the backbone no two passes are the same.
    filtered = params.methods["filtered"] and not section.backbone_dropout
    layers = selected_layers(counts["teacher"], section.filter_interval, "teacher") if filtered else []
    return found | {views.FILTERS: Reads.of("hidden", layers)}


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


def file(artifact: str) -> Path:
    """Where it stands whether an artifact is needed."""
    return Path("data/plan") / f"{artifact}.json"


def needed(artifact: str) -> bool:
    """Whether a listed method needs the artifact."""
    try:
        return bool(json.loads(file(artifact).read_text())["needed"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file(artifact)}: cannot be read ({error}): run `dvc repro plan`") from error


def leave_empty(name: str, artifact: str, folder: Path, others: Sequence[Path] = ()) -> None:
    """What a stage writes that nobody needs: a folder that says so, and empty tables.

    Args:
        name: of the stage.
        folder: its artifact.
        others: its further outputs, JSON (`{}`) or CSV (a header).
    """
    with Stage(name, params={}, inputs=[file(artifact)], outputs=[folder, *others, record_file(name)]) as stage:
        built = stage.fresh("empty")
        (built / EMPTY).write_text(json.dumps({"needed_by": NEEDED_BY[artifact]}) + "\n")
        stage.publish(built, folder)
        for path in others:
            if path.suffix == ".json":
                stage.write_json(path, {})
            else:
                draft = stage.scratch / path.name
                draft.write_text("step,loss\n")
                stage.publish(draft, path)
        stage.say("skipped", f"no method of {' or '.join(NEEDED_BY[artifact])} is listed in params.yaml")
        stage.record({"needed": False})


if __name__ == "__main__":
    run_stage(main)
