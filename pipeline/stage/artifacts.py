"""Stages that only some methods need: they read what stage plan says, and write an empty artifact where no one does.

DVC runs every stage of dvc.yaml. Nothing here, and nothing in the scripts of such stages before they ask, imports a
library that takes its time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from distill.errors import UserError
from pipeline.stage.stage import Stage, record_file

# The artifacts, and the groups of methods that need them (the augmented copies are written by the generator).
NEEDED_BY = {
    "filters": ["filtered"],
    "assistant": ["assisted"],
    "generator": ["generated", "augmented"],
    "candidates": ["retrieved"],
    "augmented": ["augmented"],
}
EMPTY = "not-needed.json"


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
