"""Runs a stage of dvc.yaml: `python -m pipeline distill ted 1`. Without arguments it lists the stages.

`dvc exp run --temp` and `--queue` run stages in a copy of the repository, while an installed package points at the
original: the `src/` beside this folder goes first on the import path, so that a copy runs its own code.
"""

from __future__ import annotations

import gc
import importlib
import sys
from pathlib import Path

SOURCE = str(Path(__file__).resolve().parents[1] / "src")


def main(words: list[str]) -> None:
    """Run the stage that the arguments name, and end the process with its exit code."""
    sys.path[:] = [SOURCE, *(entry for entry in sys.path if entry != SOURCE)]
    from pipeline.launch.run import run_stage
    from pipeline.stage.definition import scripts

    def run(*arguments: str) -> None:
        # Objects that torch and transformers make on import live to the end: collecting garbage among them again and
        # again takes a seventh of the time.
        gc.disable()
        stage = importlib.import_module(f"pipeline.{words[0]}")
        gc.freeze()
        gc.enable()
        stage.main(*arguments)

    if not words or words[0] not in scripts():
        asked = f"no stage {words[0]!r}: " if words else ""
        print(f"{asked}usage: python -m pipeline STAGE [WORDS]; stages: {', '.join(scripts())}", file=sys.stderr)
        sys.exit(2)
    run_stage(run, words[0], words[1:])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:  # while the stage was being looked up
        print("stopped; run the same command to go on", file=sys.stderr)
        sys.exit(130)
    except ModuleNotFoundError as error:  # `.venv/bin/dvc repro` runs whatever `python` the path has
        if error.name is None or error.name.partition(".")[0] in ("distill", "pipeline"):
            raise
        fix = "activate the project's environment (source .venv/bin/activate), or install the package there"
        print(f"error: {sys.executable} has no package {error.name!r}: {fix}", file=sys.stderr)
        sys.exit(2)
