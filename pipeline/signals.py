"""Stage signals: a folder of signals for each listed method. `python -m pipeline.signals`

The folder of a method, data/signals/<method>, holds hard links to the teacher's outputs, the teacher itself and other
artifacts, as far as the method asks for them (`distill.signals.manifest`). A student depends on the folder of its
method alone: it is not trained again when signals of other methods appear, go or change, and `dvc repro --pull` fetches
no more than this folder.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from distill.errors import UserError
from distill.runtime import checkpoints, json_text
from distill.runtime.files import link_tree, tree_hash
from distill.signals.cache import link_arrays
from distill.signals.manifest import Manifest, Request
from pipeline.launch.run import run_stage
from pipeline.stage import artifacts, paths
from pipeline.stage.definition import define
from pipeline.stage.stage import Stage

TEACHER = paths.model("teacher")


def main() -> None:
    """Nothing is computed: the inputs are checked to belong together, and linked."""
    with Stage(define("signals")) as stage:
        requests = requested()
        if artifacts.is_checkpoint(TEACHER):
            checkpoints.load_check(TEACHER)
        hashes = TeacherHashes()
        cached = set(read_meta(paths.STATES)["arrays"])
        built = stage.fresh("signals")
        for name, request in requests.items():
            hand_over(request, built / name, cached, hashes)
            over = set(request.states.names()) - cached
            why = "the teacher runs along: its states are over cache.max_gb" if over else request.why
            handed = ", ".join(sorted(path.name for path in (built / name).iterdir() if path.is_dir())) or "no signals"
            stage.say("hands", f"{name:<42} {handed}{f' ({why})' if why else ''}")
        if not requests:
            (built / artifacts.NOTE).write_text("{}\n", encoding="utf-8")
        stage.publish(built, paths.SIGNALS)


class TeacherHashes:
    """Hashes of the teacher's weights: of the file, and of each tensor; computed when they are first read.

    A teacher that is no checkpoint has no tensors, and the hash of its outputs, as their cache names it.
    """

    def __init__(self) -> None:
        self._file: str | None = None
        self._tensors: dict[str, str] = {}

    @property
    def file(self) -> str:
        """Hash of the file, which caches of the teacher's outputs name."""
        if self._file is None:
            checkpoint = artifacts.is_checkpoint(TEACHER)
            self._file = tree_hash(paths.WEIGHTS) if checkpoint else read_meta(paths.PREDICTIONS)["teacher"]
        return self._file

    @property
    def tensors(self) -> dict[str, str]:
        """Hashes by tensor, from which a student that is the teacher is recognised."""
        if not self._tensors and artifacts.is_checkpoint(TEACHER):
            self._tensors = checkpoints.tensor_hashes(TEACHER)
        return self._tensors


def requested() -> dict[str, Request]:
    """The requests of the listed methods, from stage plan.

    Raises:
        UserError: the file of stage plan cannot be read.
    """
    return artifacts.read_plan(
        artifacts.REQUESTS,
        lambda content: {name: Request.from_json(values) for name, values in content.items()},
    )


def hand_over(request: Request, folder: Path, available: set[str], teacher: TeacherHashes) -> None:
    """Make the folder of one method.

    Args:
        available: names of the arrays of hidden states that stage predict_teacher kept.
    """
    folder.mkdir()
    weights, tensors = None, {}
    by_teacher = request.taught_by in ("teacher", "assistant")
    states = set(request.states.names())
    cached = bool(states) and states <= available
    model = request.model or (bool(states) and not cached)  # without cached states the teacher runs along
    if request.snapshot:
        snapshot = paths.SNAPSHOT_LOGITS / str(request.snapshot)
        artifacts.check_made(artifacts.SNAPSHOTS, [snapshot])
        weights = read_meta(snapshot)["teacher"]
        link_checked(snapshot, folder / "logits", None, weights)
    elif request.logits:
        link_checked(paths.PREDICTIONS, folder / "logits", None, teacher.file)
        weights = teacher.file
    if cached:
        link_checked(paths.STATES, folder / "states", states, teacher.file)
    if model:
        artifacts.check_checkpoint(TEACHER)
        link_tree(TEACHER, folder / "teacher")
    elif by_teacher and artifacts.is_checkpoint(TEACHER):
        link_tree(TEACHER / "config.json", folder / "teacher" / "config.json")
    if by_teacher or model:
        tensors = teacher.tensors
    names = (*request.artifacts, *(("augmented",) if request.copies else ()))
    for artifact in names:
        sources = artifacts.FOLDERS[artifact]
        artifacts.check_made(artifact, list(sources.values()))
        for name, source in sources.items():
            link_tree(source, folder / name)
    if request.taught_by == "assistant":
        for checkpoint in (folder / "assistant").glob("[0-9]*"):
            shutil.rmtree(checkpoint)  # the student learns from the logits
        weights = read_meta(paths.ASSISTANT / "logits", "train_assistants")["teacher"]
    Manifest(request.taught_by, model, request.copies, weights, tensors).write(folder)


def read_meta(folder: Path, stage: str = "predict_teacher") -> dict[str, Any]:
    """The meta.json of a cache.

    Args:
        stage: name of the stage that makes it, for the error message.

    Raises:
        UserError: it cannot be read.
    """
    try:
        meta = json_text.parse((folder / "meta.json").read_text(encoding="utf-8"))
        return meta | {"teacher": str(meta["teacher"]), "arrays": dict(meta["arrays"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder}/meta.json: cannot be read ({error}): run `dvc checkout {folder}`, or `dvc repro {stage}`"
        ) from error


def link_checked(source: Path, target: Path, names: set[str] | None, weights: str) -> None:
    """Link a cache of the teacher's outputs.

    Args:
        names: names of arrays in it; None: all.
        weights: hash of the teacher's weights.

    Raises:
        UserError: the cache is of another model.
    """
    meta = read_meta(source)
    if meta["teacher"] != weights:
        raise UserError(
            f"{source}/meta.json: the predictions belong to the weights {meta['teacher'][:12]}, the run has"
            f" {weights[:12]}: run `dvc repro predict_teacher`"
        )
    link_arrays(source, target, meta["arrays"] if names is None else names)


if __name__ == "__main__":
    run_stage(main)
