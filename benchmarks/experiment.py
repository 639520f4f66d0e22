"""What one experiment costs in a project that has been reproduced, against fine-tuning its student there.

    python -m benchmarks.experiment <project> [--setting kd.temperature=4] [--results benchmarks/results/<machine>.json]

runs `dvc exp run -S kd.temperature=4` and `dvc exp run -S +student.seed=<another> finetune_student` in the project's
workspace and takes the wall time of each command, DVC's own included. The workspace must be clean (git and DVC); it is
put back to what it was, and the experiments are removed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.project import executed, search_path
from benchmarks.report import Goal, add_goal, today

GOAL = 1.20
#: Stages that train a student.
TRAININGS = ("distill", "finetune_student")
_NAMES = {"experiment": "bench-experiment", "fine-tuning": "bench-finetuning"}


class Refused(Exception):
    """The project is not in a state in which this can be measured; says what to do."""


def measure(project: Path, setting: str, seed: int) -> Goal:
    """Wall time of the experiment over that of fine-tuning.

    Raises:
        Refused: the workspace is not clean, or DVC restored a stage that should have run.
    """
    if _run(project, "git", "status", "--porcelain").strip():
        raise Refused(f"{project}: has changes: commit them (git status)")
    if changed := _changed(_run(project, "dvc", "status", "--json")):
        raise Refused(f"{project}: {changed[0]} has changed: run `dvc repro`, and commit dvc.lock and metrics")
    commands = {
        "experiment": ["-S", setting],
        "fine-tuning": ["-S", f"+student.seed={seed}", "finetune_student"],
    }
    seconds, stages = {}, {}
    try:
        for name, words in commands.items():
            began = time.perf_counter()
            output = _run(project, "dvc", "exp", "run", "--name", _NAMES[name], *words)
            seconds[name] = time.perf_counter() - began
            stages[name] = executed(output)
            _restore(project)
            if not any(stage.partition("@")[0] in TRAININGS for stage in stages[name]):
                raise Refused(
                    f"dvc exp run {' '.join(words)} trained nothing, as it was run before: choose another value"
                    " (--setting, --seed)"
                )
    finally:
        _restore(project)
        for name in _NAMES.values():
            _run(project, "dvc", "exp", "remove", name, check=False)
    return Goal(
        name=f"dvc exp run -S {setting} / fine-tuning the student",
        value=seconds["experiment"] / seconds["fine-tuning"],
        unit="",
        goal=GOAL,
        details={
            "experiment, s": seconds["experiment"],
            "fine-tuning, s": seconds["fine-tuning"],
            "stages": " ".join(stages["experiment"]),
        },
        measured=today(),
    )


def _changed(status: str) -> list[str]:
    """The stages that DVC would run, by `dvc status --json`, but for those that run every time."""
    return [name for name, why in json.loads(status).items() if why != ["always changed"]]


def _restore(project: Path) -> None:
    _run(project, "git", "checkout", "-q", "-f", ".")
    _run(project, "dvc", "checkout", "--force", "--quiet")


def _run(project: Path, *words: str, check: bool = True) -> str:
    environment = os.environ | {"PATH": search_path()}
    done = subprocess.run(words, cwd=project, env=environment, text=True, capture_output=True, encoding="utf-8")
    if check and done.returncode:
        raise Refused(f"{' '.join(words)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def main() -> None:
    """Measure, print, and put the figure into a results file."""
    parser = argparse.ArgumentParser(description="time an experiment against fine-tuning the student")
    parser.add_argument("project", type=Path, help="folder with dvc.yaml, reproduced and committed")
    parser.add_argument("--setting", default="kd.temperature=4", help="what the experiment changes")
    parser.add_argument("--seed", type=int, default=4242, help="of the fine-tuning that is timed: one not yet used")
    parser.add_argument("--results", type=Path, help="results file to put the figure into")
    options = parser.parse_args()
    try:
        goal = measure(options.project.resolve(), options.setting, options.seed)
    except Refused as error:
        sys.exit(f"error: {error}")
    print(goal.model_dump_json(indent=1))
    if options.results:
        add_goal(options.results, "experiment", goal)


if __name__ == "__main__":
    main()
