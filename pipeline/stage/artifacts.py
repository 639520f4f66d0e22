"""Artifacts that only some methods need, and the stages that make them.

DVC runs every stage of dvc.yaml. A stage that depends on a file of data/plan which says `needed: false` writes empty
outputs and a note. Nothing here imports a slow library.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from distill.errors import UserError
from distill.runtime import json_text
from pipeline.stage import paths
from pipeline.stage.definition import Definition
from pipeline.stage.stage import Stage

T = TypeVar("T")
#: Curves of a training that was not made.
NO_CURVE = "step,loss\n"
PLAN = Path("data/plan")
#: Files of the methods' requests, and of the teacher's hidden states that are read.
REQUESTS, STATES = PLAN / "signals.json", PLAN / "states.json"
NOTE = "not-needed.json"
#: The artifact that stages make which make something else too: finetune_teacher and predict_teacher.
SNAPSHOTS = "snapshots"
#: In the teacher's folder where it is no checkpoint: teacher.source of params.yaml.
NO_CHECKPOINT = "no-checkpoint.json"
#: Artifact → folder of its files below the folder of the method's signals → output of its stage.
FOLDERS = {
    "filters": {"filters/teacher": paths.filters("teacher"), "filters/student": paths.filters("student")},
    "assistant": {"assistant": paths.ASSISTANT},
    "generator": {"generator": paths.GENERATOR},
    "candidates": {"candidates": paths.CANDIDATES},
    "augmented": {"augmented": paths.AUGMENTED},
    SNAPSHOTS: {"snapshots": paths.SNAPSHOT_LOGITS},
}
#: Artifact → the stages that make it, and nothing else.
MADE_BY = {
    "filters": ("train_teacher_filters", "train_student_filters"),
    "assistant": ("train_assistants",),
    "generator": ("train_generator",),
    "candidates": ("retrieve",),
    "augmented": ("augment",),
}


def file(artifact: str) -> Path:
    """The file that says whether an artifact is needed."""
    return PLAN / f"{artifact}.json"


def unneeded(definition: Definition) -> str | None:
    """The artifact of a stage that no listed method needs; None for every other stage."""
    for artifact in MADE_BY:
        path = file(artifact)
        if path in definition.deps and not _needed(path):
            return artifact
    return None


def snapshots_are_needed() -> bool:
    """Whether a listed name learns from checkpoints of the teacher's training."""
    return _needed(file(SNAPSHOTS))


def _needed(path: Path) -> bool:
    return read_plan(path, lambda content: bool(content["needed"]))


def read_plan(path: Path, convert: Callable[[Any], T]) -> T:
    """The content of a file of stage plan.

    Args:
        convert: Function from the JSON content to what the caller needs.

    Raises:
        UserError: The file cannot be read, or `convert` does not find what it needs.
    """
    try:
        return convert(json_text.parse(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read ({error}): run `dvc repro plan`") from error


def leave_empty(definition: Definition, artifact: str) -> None:
    """Write the outputs of a stage that no method needs: folders with a note, `{}`, tables with only a header."""
    with Stage(Definition(definition.name, deps=(file(artifact),), outs=definition.outs)) as stage:
        for path in definition.outs:
            if path == definition.record:
                continue
            if path.suffix == ".json":
                stage.write_json(path, {})
            elif path.suffix == ".csv":
                draft = stage.scratch / path.name
                draft.write_text(NO_CURVE, encoding="utf-8")
                stage.publish(draft, path)
            else:
                leave_note(stage, artifact, path)
        stage.say("skipped", f"no listed method needs it ({artifact})")
        stage.record({"needed": False})


def leave_note(stage: Stage, artifact: str, path: Path) -> None:
    """Write an output as a folder that has nothing but the note that it is not needed."""
    built = stage.fresh("empty")
    (built / NOTE).write_text(json.dumps({"artifact": artifact, "needed": False}) + "\n", encoding="utf-8")
    stage.publish(built, path)


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder of data/models holds a model; false: its outputs are all that there is (teacher.source)."""
    return not (folder / NO_CHECKPOINT).is_file()


def check_checkpoint(folder: Path) -> None:
    """Raise a UserError where a method or a stage needs the teacher itself and it is no checkpoint."""
    if not is_checkpoint(folder):
        raise UserError(
            f"{folder}: no checkpoint (teacher.source), but a listed method needs the model: run `dvc repro plan`,"
            " which says which one"
        )


def leave_without_checkpoint(stage: Stage, source: str, model: Path, scores: Path, curves: Path) -> None:
    """Write the outputs of a stage that fine-tunes a teacher where there is none to fine-tune.

    Args:
        source: teacher.source of params.yaml, or a member's, `predictions` or `ensemble`.
        model, scores, curves: the outputs: a folder that gets a note, no scores, no curve.
    """
    built = stage.fresh("model")
    (built / NO_CHECKPOINT).write_text(json.dumps({"source": source}) + "\n", encoding="utf-8")
    stage.publish(built, model)
    stage.write_json(scores, {})
    draft = stage.scratch / "curves.csv"
    draft.write_text(NO_CURVE, encoding="utf-8")
    stage.publish(draft, curves)
    stage.say("skipped", f"teacher.source is {source}: there is no model to fine-tune")
    stage.record({"needed": False})


def check_made(artifact: str, folders: Sequence[Path]) -> None:
    """Raise a UserError where an artifact that a method needs was not made."""
    for folder in folders:
        if not folder.is_dir() or (folder / NOTE).exists():
            stage = MADE_BY.get(artifact, ("predict_teacher",))[-1]
            raise UserError(f"{folder}: not made, a listed method needs it: run `dvc repro {stage}`")
