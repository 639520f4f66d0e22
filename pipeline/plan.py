"""Stage plan: which further artifacts the listed methods need. `python -m pipeline.plan`

DVC runs every stage of dvc.yaml. The stages that only some methods need read a file of this one, and write an empty
artifact where no listed method needs theirs. The files do not change when a second method of the same kind is listed,
so that nothing is made twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from distill.errors import UserError
from pipeline import common
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


def main() -> None:
    """Reads nothing but the lists of methods, and imports no library that takes its time."""
    methods = yaml.safe_load(common.PARAMS.read_text())["methods"]
    files = {name: file(name) for name in NEEDED_BY}
    with Stage("plan", params={"methods": methods}, outputs=list(files.values())) as stage:
        for name, groups in NEEDED_BY.items():
            stage.write_json(files[name], {"needed": any(methods.get(group) for group in groups)})


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
