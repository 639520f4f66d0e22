"""Stage predict_teacher: the teacher's outputs over the training features, once for all. `python -m pipeline.predict`

The logits go to data/teacher, whether a model or files give them. The hidden states that methods read (stage plan) go
to data/states as far as `cache.max_gb` allows; those that the teacher's filters train on have second names in
data/filter_states.

A teacher with a tokenizer of its own reads its own tokens; what it says is written for the student's
(`distill.signals.other_tokens`).
"""

from __future__ import annotations

import math
from pathlib import Path

from distill.config.params import Params
from distill.data.loading.prepared import Prepared
from distill.errors import UserError
from distill.models import loading
from distill.models.predict import layout
from distill.runtime import checkpoints
from distill.signals import other_tokens, states, writer
from distill.signals.cache import Array, Writer, complete, link_arrays
from distill.signals.states import Choice, Reads
from distill.signals.stored import taught_splits
from distill.tasks.base import Task
from pipeline.launch.run import run_stage
from pipeline.stage import artifacts, paths
from pipeline.stage.definition import define
from pipeline.stage.inputs import open_data
from pipeline.stage.outputs import read_stored
from pipeline.stage.stage import Stage


def main() -> None:
    """The outputs of the fine-tuned teacher, or those that are stored in files (teacher.source)."""
    params = paths.params()
    with Stage(define("predict"), params, tags={"role": "teacher"}) as stage:
        data, task = open_data(params)
        if params.teacher.source == "predictions":
            from_files(stage, params, data, task)
        else:
            from_model(stage, params, data, task)


def from_model(stage: Stage, params: Params, data: Prepared, task: Task) -> None:
    """Batch by batch, in constant memory; resumes where a killed run ended."""
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
    moving = own is not data and task.per_token
    written = writer.write(
        stage.scratch / ("windows" if moving else "logits"),
        model,
        paths.WEIGHTS,
        own if moving else data,
        task,
        params.predict,
        params.runtime,
        "predict",
        states=(folder, arrays),
        reader=None if moving or own is data else own,
    )
    stage.alone()
    if moving:
        move(stage, data, task, params, folder)
    read_by_filters = filter_states(stage, folder, reads[paths.FILTERS_READER], choice)
    stage.publish(complete(stage.scratch / "logits"), paths.PREDICTIONS)
    stage.publish(read_by_filters, paths.FILTER_STATES)
    stage.publish(complete(folder), paths.STATES)
    speed = written.rows_per_second
    stage.figures({"rows": written.rows, "entries": written.entries, "rows per second": speed})
    sizes = {"logits": logits, **choice.sizes}
    stage.record({"examples_per_second": round(speed, 2), "bytes": sizes})


def from_files(stage: Stage, params: Params, data: Prepared, task: Task) -> None:
    """The outputs as the files have them; there are no hidden states."""
    stage.alone()
    outputs = read_stored(stage, params, data, task)
    outputs.check_missing(params.teacher.missing, Path(params.teacher.predictions))
    folder, empty = stage.fresh("logits"), stage.fresh("states")
    hashed = outputs.write(folder)
    stage.publish(complete(folder), paths.PREDICTIONS)
    write_no_states(empty, data, task, hashed)
    for target in (paths.FILTER_STATES, paths.STATES):
        copy = stage.fresh("no-states")
        link_arrays(empty, copy, [])
        stage.publish(copy, target)
    coverage = {split: outputs.coverage[split] for split in taught_splits(data)}
    missing = sum(size - known for known, size in coverage.values())
    if missing:
        stage.say("missing", f"{missing:,} rows have no outputs and teach by their labels alone")
    stage.figures({f"{split} rows with outputs": known for split, (known, _) in coverage.items()})
    stage.record({"rows_without_outputs": missing})


def write_no_states(folder: Path, data: Prepared, task: Task, teacher: str) -> None:
    """A cache without arrays: a teacher that is known by its outputs has no hidden states.

    Args:
        teacher: hash of the outputs.
    """
    meta = {"task": task.name, "precision": "fp32", **writer.identity(data, None), "teacher": teacher}
    Writer(folder, layout(data.taught_features(), per_token=True), {}).finish(meta)
    complete(folder)


def check_room(choice: Choice, params: Params) -> None:
    """Raise a UserError where states that a method reads are not kept: a teacher with other tokens cannot run along."""
    if choice.left_out:
        total = sum(choice.sizes.values()) + sum(choice.left_out.values())
        raise UserError(
            f"params.yaml: cache.max_gb: {params.cache.max_gb:g}: the states that {', '.join(choice.left_out)} read do"
            " not fit, and a teacher with a tokenizer of its own cannot run along with the student, whose tokens it"
            f" cannot read: set it to {math.ceil(total / 1e7) / 100:g} or more"
        )


def move(stage: Stage, data: Prepared, task: Task, params: Params, folder: Path) -> None:
    """Move the logits over the teacher's own windows to the student's; no states are kept.

    Args:
        folder: scratch folder of the states.
    """
    meta = {"task": task.name, "precision": params.predict.precision, **writer.identity(data, paths.WEIGHTS)}
    moved = other_tokens.write_windows(stage.scratch / "logits", stage.scratch / "windows", data, "teacher", meta)
    stage.say("moved", moved.describe())
    Writer(folder, layout(data.taught_features(), per_token=True), {}).finish(meta)


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
