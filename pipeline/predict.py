"""Stage predict_teacher: the teacher's outputs over the training features, once for all. `python -m pipeline.predict`

The logits go to data/teacher. The hidden states that methods read (stage plan) go to data/states as far as
`cache.max_gb` allows, with a file per method in `views/` that names what it reads by content (`pipeline.views`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from distill import checkpoints, config, models, prediction, registry, states
from distill.cache import Array, complete
from distill.config import Params
from distill.errors import UserError
from distill.evaluation import layout
from distill.states import Reads
from pipeline import common, needs, views
from pipeline.inputs import open_data
from pipeline.stage import Stage, record_file, run_stage


def main() -> None:
    """Batch by batch, in constant memory; goes on where a killed run had come to."""
    params = common.params()
    name, section = "predict_teacher", params.predict
    with Stage(
        name,
        params=config.pick(params, ["task", "predict", "cache"]),
        inputs=[common.PREPARED, common.model("teacher"), needs.file("states")],
        outputs=[common.PREDICTIONS, common.STATES, record_file(name)],
        experiment=params.tracking.experiment,
        tags={"role": "teacher"},
    ) as stage:
        data, task = open_data(params)
        checkpoints.load_check(common.model("teacher"))
        model = models.from_pretrained(str(common.model("teacher")), task)
        stage.read(common.model("teacher"))
        reads, width = planned(), model.config.hidden_size
        offsets = layout(data.features("train"), per_token=True)
        choice = states.choose(reads, offsets, width, params.cache.dtype, params.cache.max_gb * 1e9)
        logits = Array(task.channels, task.per_token).size(offsets)
        others = {name: why for name, why in online(params, reads).items() if name not in choice.left_out}
        stage.say("keeps", states.describe(choice, logits, params.cache.max_gb, others))
        folder = stage.scratch / "states"
        arrays = prediction.state_arrays(choice.layers, width, params.cache.dtype)
        written = prediction.write(
            stage.scratch / "logits",
            model,
            common.WEIGHTS,
            data,
            task,
            section,
            params.runtime,
            "predict",
            states=(folder, arrays),
        )
        stage.alone()
        views.write(folder, reads, choice.methods)
        stage.publish(complete(stage.scratch / "logits"), common.PREDICTIONS)
        stage.publish(complete(folder), common.STATES)
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
    file = needs.file("states")
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
    for name in params.method_names:
        kind, group = registry.load(name), params.group_of(name)
        if kind.taught_by != "teacher" or not kind.needs:
            continue
        if group == "augmented":
            found[name] = "learns from augmented copies"
        elif more := [what for need, what in states.NOT_KEPT.items() if need in kind.needs]:
            found[name] = f"needs {' and '.join(more)}"
        elif kind.needs != {"logits"} and not reads.get(name):
            found[name] = "needs the states of padding too"
    section, precision = params.teacher_filters, params.predict.precision
    if params.methods["filtered"] and section.backbone_dropout:
        found[views.FILTERS] = "backbone_dropout"
    elif params.methods["filtered"] and section.precision != precision:
        found[views.FILTERS] = f"precision {section.precision}, the states have {precision}"
    return found


if __name__ == "__main__":
    run_stage(main)
