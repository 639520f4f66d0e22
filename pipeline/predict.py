"""Stage predict_teacher: the teacher's outputs over the training features, once for all. `python -m pipeline.predict`

The logits go to data/teacher. The hidden states that methods read (stage plan) go to data/states as far as
`cache.max_gb` allows, with a file per method in `views/` that names what it reads by content (`pipeline.views`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from distill.config.params import Params
from distill.config.values import pick
from distill.errors import UserError
from distill.methods import registry
from distill.models import loading
from distill.models.predict import layout
from distill.parameters import group_of
from distill.runtime import checkpoints
from distill.signals import states, writer
from distill.signals.cache import Array, complete
from distill.signals.states import Reads
from pipeline import views
from pipeline.stage import artifacts, paths
from pipeline.stage.inputs import open_data
from pipeline.stage.stage import Stage, record_file, run_stage


def main() -> None:
    """Batch by batch, in constant memory; goes on where a killed run had come to."""
    params = paths.params()
    name, section = "predict_teacher", params.predict
    with Stage(
        name,
        params=pick(params, ["task", "predict", "cache"]),
        inputs=[paths.PREPARED, paths.model("teacher"), artifacts.file("states")],
        outputs=[paths.PREDICTIONS, paths.STATES, record_file(name)],
        experiment=params.tracking.experiment,
        tags={"role": "teacher"},
    ) as stage:
        data, task = open_data(params)
        checkpoints.load_check(paths.model("teacher"))
        model = loading.from_pretrained(str(paths.model("teacher")), task)
        stage.read(paths.model("teacher"))
        reads, width = planned(), model.config.hidden_size
        offsets = layout(data.features("train"), per_token=True)
        choice = states.choose(reads, offsets, width, params.cache.dtype, params.cache.max_gb * 1e9)
        logits = Array(task.channels, task.per_token).size(offsets)
        others = {name: why for name, why in online(params, reads).items() if name not in choice.left_out}
        stage.say("keeps", states.describe(choice, logits, params.cache.max_gb, others))
        folder = stage.scratch / "states"
        arrays = writer.state_arrays(choice.layers, width, params.cache.dtype)
        written = writer.write(
            stage.scratch / "logits",
            model,
            paths.WEIGHTS,
            data,
            task,
            section,
            params.runtime,
            "predict",
            states=(folder, arrays),
        )
        stage.alone()
        views.write(folder, reads, choice.methods)
        stage.publish(complete(stage.scratch / "logits"), paths.PREDICTIONS)
        stage.publish(complete(folder), paths.STATES)
        speed = written.rows_per_second
        stage.figures({"rows": written.rows, "entries": written.entries, "rows per second": speed})
        sizes = {"logits": logits, **choice.sizes}
        along = sorted({*choice.left_out, *others})
        stage.record({"examples_per_second": round(speed, 2), "bytes": sizes, "online": along})


def planned() -> dict[str, Reads]:
    """What stage plan says that methods read.

    Raises:
        UserError: its file cannot be read.
    """
    file = artifacts.file("states")
    try:
        content = json.loads(file.read_text())
        return {name: Reads(*(tuple(found[kind]) for kind in states.KINDS)) for name, found in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: cannot be read ({error}): run `dvc repro plan`") from error


def online(params: Params, reads: Mapping[str, Reads]) -> dict[str, str]:
    """Of the listed methods and of what they need, what runs the teacher along whatever is kept, and why.

    It is for the reader alone: the stage does not depend on `methods`, and does not run again where only this changes.

    Args:
        reads: what stage plan says.
    """
    found = {}
    for name in params.methods:
        kind, group = registry.load(name), group_of(params, name)
        if kind.taught_by != "teacher" or not kind.needs:
            continue
        if group == "augmented":
            found[name] = "learns from augmented copies"
        elif more := [what for need, what in states.NOT_KEPT.items() if need in kind.needs]:
            found[name] = f"needs {' and '.join(more)}"
        elif kind.needs != {"logits"} and not reads.get(name):
            found[name] = "needs the states of padding too"
    section, precision = params.teacher_filters, params.predict.precision
    filtered = any(group_of(params, name) == "filtered" for name in params.methods)
    if filtered and section.backbone_dropout:
        found[views.FILTERS] = "backbone_dropout"
    elif filtered and section.precision != precision:
        found[views.FILTERS] = f"precision {section.precision}, the states have {precision}"
    return found


if __name__ == "__main__":
    run_stage(main)
