"""Stage predict_teacher: the teacher's outputs over the training features, once for all. `python -m pipeline.predict`

The logits go to data/teacher. The hidden states that methods read (stage plan) go to data/states as far as
`cache.max_gb` allows; those that the teacher's filters train on have second names in data/filter_states.

A teacher with a tokenizer of its own reads its own tokens; what it says is written for the student's
(`distill.signals.other_tokens`).
"""

from __future__ import annotations

import math
from pathlib import Path

from distill.config.params import Params
from distill.errors import UserError
from distill.models import loading
from distill.models.predict import layout
from distill.runtime import checkpoints
from distill.signals import states, writer
from distill.signals.cache import Array, complete, link_arrays
from distill.signals.states import Choice, Reads
from pipeline.launch.run import run_stage
from pipeline.stage import artifacts, paths
from pipeline.stage.definition import define
from pipeline.stage.inputs import open_data
from pipeline.stage.stage import Stage


def main() -> None:
    """Batch by batch, in constant memory; resumes where a killed run ended."""
    params = paths.params()
    with Stage(define("predict"), params, tags={"role": "teacher"}) as stage:
        data, task = open_data(params)
        own = data.read_by("teacher")
        checkpoints.load_check(paths.model("teacher"))
        model = loading.from_pretrained(str(paths.model("teacher")), task)
        stage.read(paths.model("teacher"))
        reads, width = planned(), model.config.hidden_size
        offsets = layout(data.taught_features(), per_token=True)
        choice = states.choose(reads, offsets, width, params.cache.dtype, params.cache.max_gb * 1e9)
        logits = Array(task.channels, task.per_token).size(offsets)
        if own is not data:
            check_room(choice, params)
        stage.say("keeps", states.describe(choice, logits, params.cache.max_gb))
        folder = stage.scratch / "states"
        arrays = writer.state_arrays(choice.layers, width, params.cache.dtype)
        written = writer.write(
            stage.scratch / "logits",
            model,
            paths.WEIGHTS,
            data,
            task,
            params.predict,
            params.runtime,
            "predict",
            states=(folder, arrays),
            reader=own,
        )
        stage.alone()
        if written.moved:
            stage.say("moved", written.moved.describe())
        read_by_filters = filter_states(stage, folder, reads[paths.FILTERS_READER], choice)
        stage.publish(complete(stage.scratch / "logits"), paths.PREDICTIONS)
        stage.publish(read_by_filters, paths.FILTER_STATES)
        stage.publish(complete(folder), paths.STATES)
        speed = written.rows_per_second
        stage.figures({"rows": written.rows, "entries": written.entries, "rows per second": speed})
        sizes = {"logits": logits, **choice.sizes}
        stage.record({"examples_per_second": round(speed, 2), "bytes": sizes})


def check_room(choice: Choice, params: Params) -> None:
    """Raise a UserError where states that a method reads are not kept: a teacher with other tokens cannot run along."""
    if choice.left_out:
        total = sum(choice.sizes.values()) + sum(choice.left_out.values())
        raise UserError(
            f"params.yaml: cache.max_gb: {params.cache.max_gb:g}: the states that {', '.join(choice.left_out)} read do"
            " not fit, and a teacher with a tokenizer of its own cannot run along with the student, whose tokens it"
            f" cannot read: set it to {math.ceil(total / 1e7) / 100:g} or more"
        )


def filter_states(stage: Stage, folder: Path, reads: Reads, choice: Choice) -> Path:
    """The states that the teacher's filters train on, as second names of the files; none where they were not kept."""
    target = stage.fresh("filter_states")
    names = reads.names() if paths.FILTERS_READER in choice.methods else []
    link_arrays(folder, target, names)
    return target


def planned() -> dict[str, Reads]:
    """The states that methods read, from stage plan.

    Raises:
        UserError: the file of stage plan cannot be read.
    """
    return artifacts.read_plan(
        artifacts.STATES,
        lambda content: {
            name: Reads(*(tuple(layers[kind]) for kind in states.KINDS)) for name, layers in content.items()
        },
    )


if __name__ == "__main__":
    run_stage(main)
