"""Stage predict_teacher: the teacher's outputs over the training features, once for all. `python -m pipeline.predict`

The logits go to data/teacher, whether a model, files or an ensemble give them. The hidden states that methods read
(stage plan) go to data/states as far as `cache.max_gb` allows; those that the teacher's filters train on have second
names in data/filter_states. Where a listed name learns from checkpoints of the teacher's training, their logits go to
data/snapshots.

A teacher with a tokenizer of its own reads its own tokens; what it says is written for the student's
(`distill.signals.other_tokens`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distill.config.params import Params
from distill.data.loading import groups
from distill.data.loading.prepared import Prepared
from distill.errors import UserError
from distill.models import loading
from distill.models.predict import layout
from distill.runtime import checkpoints
from distill.runtime.files import link_tree
from distill.signals import ensemble, states, writer
from distill.signals.cache import SPREAD, Array, Cache, Writer, complete, link_arrays
from distill.signals.states import Choice, Reads
from distill.signals.stored import Stored
from distill.tasks.base import Task, gives_scores
from pipeline.launch.run import run_stage
from pipeline.stage import artifacts, outputs, paths
from pipeline.stage.definition import define
from pipeline.stage.inputs import open_data
from pipeline.stage.stage import Stage

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def main() -> None:
    """The outputs of the fine-tuned teacher, those that are stored in files, or an ensemble's (teacher.source)."""
    params = paths.params()
    with Stage(define("predict"), params, tags={"role": "teacher"}) as stage:
        data, task = open_data(params)
        if params.teacher.source == "model":
            from_model(stage, params, data, task)
            return
        stage.alone()
        folder = stage.fresh("logits")
        if params.teacher.source == "predictions":
            _, hashed = from_files(stage, params, data, task, folder)
        else:
            hashed = from_members(stage, params, data, task, folder)
        stage.publish(complete(folder), paths.PREDICTIONS)
        publish_no_states(stage, data, task, hashed)
        artifacts.leave_note(stage, artifacts.SNAPSHOTS, paths.SNAPSHOT_LOGITS)


def from_model(stage: Stage, params: Params, data: Prepared, task: Task) -> None:
    """Batch by batch, in constant memory; resumes where a killed run ended."""
    of_snapshots = write_snapshots(stage, params, data, task)
    model = read_model(stage, paths.model("teacher"), task)
    reads, width = planned(), model.config.hidden_size
    offsets = layout(data.taught_features(), per_token=True)
    choice = states.choose(reads, offsets, width, params.cache.dtype, params.cache.max_gb * 1e9)
    logits = Array(task.channels, task.per_token).size(offsets)
    if data.read_by("teacher") is not data:
        check_room(choice, params)
    stage.say("keeps", states.describe(choice, logits, params.cache.max_gb))
    folder = stage.scratch / "states"
    arrays = writer.state_arrays(choice.layers, width, params.cache.dtype)
    written = write_logits(stage, params, data, task, model, paths.WEIGHTS, "teacher", (folder, arrays))
    read_by_filters = filter_states(stage, folder, reads[paths.FILTERS_READER], choice)
    stage.publish(complete(stage.scratch / "logits"), paths.PREDICTIONS)
    stage.publish(read_by_filters, paths.FILTER_STATES)
    stage.publish(complete(folder), paths.STATES)
    publish_snapshots(stage, of_snapshots)
    sizes = {"snapshots": len(of_snapshots) * logits} if of_snapshots else {}
    report(stage, written, {"logits": logits, **choice.sizes, **sizes})


def write_snapshots(stage: Stage, params: Params, data: Prepared, task: Task) -> list[Path]:
    """Write the logits of the checkpoints of the teacher's training, where a listed name learns from them.

    Returns:
        Their folders in the stage's scratch, in order.
    """
    folders = []
    for checkpoint in paths.numbered(paths.SNAPSHOTS) if artifacts.snapshots_are_needed() else ():
        model, folder = read_model(stage, checkpoint, task), stage.scratch / f"snapshot-{checkpoint.name}"
        reader, label = data.read_by("teacher"), f"predict, snapshot {checkpoint.name}"
        weights, settings = paths.weights(checkpoint), (params.predict, params.runtime)
        writer.write(folder, model, weights, data, task, *settings, label, reader=reader)
        folders.append(folder)
    return folders


def publish_snapshots(stage: Stage, folders: list[Path]) -> None:
    """Publish what `write_snapshots` wrote; without any, a note."""
    if not folders:
        artifacts.leave_note(stage, artifacts.SNAPSHOTS, paths.SNAPSHOT_LOGITS)
        return
    built = stage.fresh("snapshots")
    for number, folder in enumerate(folders, start=1):
        link_tree(complete(folder), built / str(number))
    stage.publish(built, paths.SNAPSHOT_LOGITS)


def read_model(stage: Stage, folder: Path, task: Task) -> PreTrainedModel:
    """A fine-tuned teacher.

    Args:
        folder: its checkpoint.
    """
    checkpoints.load_check(folder)
    stage.read(folder)
    return loading.from_pretrained(str(folder), task)


def write_logits(
    stage: Stage,
    params: Params,
    data: Prepared,
    task: Task,
    model: PreTrainedModel,
    weights: Path,
    role: str,
    kept: tuple[Path, Mapping[str, Array]] | None = None,
) -> writer.Written:
    """Write a model's logits for the student's features to `logits` in the stage's scratch.

    Args:
        weights: file of the model's weights.
        role: whose tokens the model reads (`Prepared.read_by`).
        kept: folder and arrays of its hidden states, where some are kept.
    """
    written = writer.write(
        stage.scratch / "logits",
        model,
        weights,
        data,
        task,
        params.predict,
        params.runtime,
        "predict",
        states=kept,
        reader=data.read_by(role),
    )
    stage.alone()
    if written.moved:
        stage.say("moved", written.moved.describe())
    return written


def report(stage: Stage, written: writer.Written, sizes: Mapping[str, int]) -> None:
    """The stage's figures.

    Args:
        sizes: bytes by what was written.
    """
    speed = written.rows_per_second
    stage.figures({"rows": written.rows, "entries": written.entries, "rows per second": speed})
    stage.record({"examples_per_second": round(speed, 2), "bytes": sizes})


def from_members(stage: Stage, params: Params, data: Prepared, task: Task, folder: Path) -> str:
    """Write the mean of the members' probabilities.

    Args:
        folder: scratch folder of the cache.

    Returns:
        The hash of the ensemble.
    """
    members = outputs.members(stage, params, data)
    meta = {"task": task.name, "precision": "fp32"}
    features = data.taught_features()
    words = ensemble.words_of(features, task)
    bounds = groups.bounds(features) if task.logits_of == "relevance" else None
    hashed = ensemble.write(folder, members, params.ensemble.weight_of_each(), task, meta, words, bounds)
    spread = Cache.open(folder, {}).column(SPREAD)
    low, middle, high = np.quantile(spread, [0.1, 0.5, 0.9])
    unit = "as a standard deviation" if gives_scores(task) else "nats"
    stage.say("spread", f"of the members: quantiles 10%, 50%, 90%: {low:.3g}, {middle:.3g}, {high:.3g} {unit}")
    stage.record({"members": len(members), "spread": {"10%": float(low), "50%": float(middle), "90%": float(high)}})
    return hashed


def from_files(stage: Stage, params: Params, data: Prepared, task: Task, folder: Path) -> tuple[Stored, str]:
    """Write the outputs as the files have them.

    Args:
        folder: scratch folder of the cache.

    Returns:
        (the outputs, their hash)
    """
    stored = outputs.read_stored(stage, params, data, task)
    stored.check_missing(params.teacher.missing, Path(params.teacher.predictions))
    hashed = stored.write(folder)
    coverage = {split: stored.coverage[split] for split in data.taught_splits}
    missing = sum(size - known for known, size in coverage.values())
    if missing:
        stage.say("missing", f"{missing:,} rows have no outputs and teach by their labels alone")
    stage.figures({f"{split} rows with outputs": known for split, (known, _) in coverage.items()})
    stage.record({"rows_without_outputs": missing})
    return stored, hashed


def publish_no_states(stage: Stage, data: Prepared, task: Task, teacher: str) -> None:
    """Publish empty caches: a teacher that is known by its outputs has no hidden states.

    Args:
        teacher: hash of the outputs.
    """
    meta = {"task": task.name, "precision": "fp32", **writer.identity(data, None), "teacher": teacher}
    for target in (paths.FILTER_STATES, paths.STATES):
        folder = stage.fresh("no-states")
        Writer(folder, layout(data.taught_features(), per_token=True), {}).finish(meta)
        stage.publish(complete(folder), target)


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
