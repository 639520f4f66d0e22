"""Do two commits give the same results, byte for byte?

    python -m benchmarks.compare_commits OLD NEW

Each commit is cloned, and micro pipelines run in it through DVC: every method it has, on questions, on pairs of
sentences and on similarities. Then weights, curves, scores and predictions of both are compared. `--default` runs the
default parameters too, which takes as long as two `dvc repro`. A single commit can be recorded for later:

    python -m benchmarks.compare_commits --record OLD --output old.json
    python -m benchmarks.compare_commits old.json NEW

Times and run ids differ from run to run and are left out. Exit status 1: something differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]

# Files whose bytes a run's parameters and code decide, by glob.
RESULTS = (
    "data/models/teacher/*",
    "data/models/student/*",
    "data/models/generator/*",
    "data/models/filters/*/*",
    "data/models/distill/*/*/*.*",
    "data/models/distill/*/*/generations/*/*",
    "data/models/generations/*/*/*/*",
    "data/assistant/*/*",
    "data/teacher/*",
    "data/candidates/**/*",
    "data/augmented/*",
    "data/predictions/*",
    "data/disagreements.json",
    "metrics/summary.*",
    "metrics/analysis.json",
    "metrics/runs/*",
    "metrics/curves/*",
    "metrics/filters/*",
    "metrics/selection/*",
    "metrics/plots/*",
)
# Where newer commits keep what older ones had elsewhere.
MOVED = ((r"data/models/generations/(\w+)/(\d+)/", r"data/models/distill/\1/\2/generations/"),)
# The cost of a run is measured anew each time.
MEASURED = ("metrics/plots/cost.csv",)
# Notes of stages that nobody needs, and of generations that there are none.
NOTES = ("not-needed.json", "none.json")

_SHAPE = {
    "num_hidden_layers": 4,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 128,
    "max_relative_positions": 16,
}
_TRAINED = ("teacher", "student", "assistant", "teacher_filters", "student_filters", "generator", "distill")
# Small enough to run through DVC in minutes, long enough that every schedule, phase and cycle does something.
MICRO: dict[str, Any] = {
    "atlas.train_questions": 240,
    "atlas.validation_questions": 60,
    "atlas.text_train": 240,
    "atlas.text_validation": 60,
    "features.tokenizer.vocab_size": 600,
    "features.max_length": 128,
    "features.doc_stride": 32,
    "cost.batch_sizes": [1],
    "cost.seconds": 0.05,
    **{f"{role}.model.config.{k}": v for role in ("teacher", "student", "generator") for k, v in _SHAPE.items()},
    "student.model.config.num_hidden_layers": 2,
    "generator.model.config.num_hidden_layers": 2,
    **{f"{name}.max_steps": 8 for name in _TRAINED},
    **{f"{name}.batch_size": 8 for name in _TRAINED},
    **{f"{name}.log_every": 2 for name in _TRAINED},
    "teacher.max_steps": 40,
    "distill.max_steps": 24,
    "teacher_filters.filter_output_dim": 8,
    "student_filters.filter_output_dim": 8,
    "retrieve.candidates": 3,
    "minimax_knn.selected": 2,
    "augment.copies": 1,
    **{
        f"{name}.{part}_steps": count
        for name in ("mate", "combined")
        for part, count in (("student", 6), ("generator", 2))
    },
    "compare.resamples": 1000,
    "runtime.threads": 1,
}
# What differs between the runs; `copies`: methods that learn from augmented copies; `without`: methods that are left
# out.
TASKS: dict[str, dict[str, Any]] = {
    "questions": {"task": "qa", "data.embedded": "questions"},
    "pairs": {
        "task": "classification",
        "data.embedded": "pairs",
        "data.text": "sentence1",
        "data.text_pair": "sentence2",
        "copies": ["tinybert", "rkd"],
    },
    "similarity": {
        "task": "regression",
        "data.embedded": "similarity",
        "data.text": "sentence1",
        "data.text_pair": "sentence2",
        "data.label": "score",
        "without": ["tfkd_reg"],  # refuses numbers
    },
}
# Where commits before the flat list of methods want each of them.
_GROUPS = {
    "hidden": ["alp", "ckd", "hidden", "lwd", "pkd", "rail", "tinybert"],
    "filtered": ["ted"],
    "assisted": ["takd"],
    "generated": ["combined", "mate"],
    "retrieved": ["knn", "minimax_knn"],
    "generations": ["born_again"],
}


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare_commits",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("commits", nargs="*", metavar="COMMIT", help="two of them: revisions, or files of --record")
    parser.add_argument("--record", metavar="COMMIT", help="run one commit and write what it gives to --output")
    parser.add_argument("--output", type=Path, help="file of --record")
    parser.add_argument("--default", action="store_true", help="the default parameters too")
    parser.add_argument("--only", nargs="+", choices=[*TASKS, "default"], help="some of the runs")
    parser.add_argument("--folder", type=Path, help="where to clone to and run; kept (default: a temporary folder)")
    options = parser.parse_args(argv)
    if bool(options.record) == bool(options.commits) or len(options.commits) not in (0, 2):
        parser.error("name two commits, or one with --record")
    runs = options.only or [*TASKS, *(["default"] if options.default else [])]
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if options.record:
            options.output.write_text(
                json.dumps(record(options.record, runs, folder / "one"), indent=1) + "\n", encoding="utf-8"
            )
            return 0
        old, new = (
            json.loads(Path(name).read_text(encoding="utf-8"))
            if name.endswith(".json")
            else record(name, runs, folder / side)
            for name, side in zip(options.commits, ("old", "new"), strict=True)
        )
    lines = differences(old, {name: files for name, files in new.items() if name in old})
    print("\n".join(lines) or f"no difference in {sum(map(len, new.values()))} files")
    return 1 if lines else 0


def record(commit: str, runs: list[str], folder: Path) -> dict[str, dict[str, str]]:
    """Run micro pipelines in a clone of a commit: run → file → hash of its bytes."""
    return {name: run(commit, name, folder / name) for name in runs}


def run(commit: str, name: str, repo: Path) -> dict[str, str]:
    """One run in a clone of its own."""
    if not (repo / ".git").exists():
        subprocess.run(["git", "clone", "-q", str(ROOT), str(repo)], check=True)
        subprocess.run(["git", "checkout", "-q", commit], cwd=repo, check=True)
    if name != "default":
        file = repo / "params.yaml"
        file.write_text(
            yaml.safe_dump(
                settings(yaml.safe_load(file.read_text(encoding="utf-8")), TASKS[name], methods(repo)), sort_keys=False
            ),
            encoding="utf-8",
        )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_", "GIT_", "DISTILL_"))}
    programs = Path(sys.executable).parent
    environment |= {"PATH": f"{programs}{os.pathsep}{environment.get('PATH', '')}", "DISTILL_TRACKING": "off"}
    print(f"{commit}: {name}: {repo}", flush=True)
    with (repo.parent / f"{name}.log").open("w", encoding="utf-8") as log:
        subprocess.run(["dvc", "repro"], cwd=repo, env=environment, stdout=log, stderr=log, check=True)
    return hashes(repo)


def methods(repo: Path) -> list[str]:
    """The methods that a checkout has: the files of its folder that name one."""
    return sorted(
        file.stem
        for file in (repo / "src/distill/methods").glob("*.py")
        if "\nMETHOD = " in file.read_text(encoding="utf-8")
    )


def settings(params: dict[str, Any], task: Mapping[str, Any], available: list[str]) -> dict[str, Any]:
    """A checkout's parameters with the micro ones on top."""
    task = dict(task)
    copies, without = task.pop("copies", []), task.pop("without", [])
    listed = [name for name in available if name not in without]
    for name, value in (MICRO | task).items():
        *parents, leaf = name.split(".")
        node = params
        for parent in parents:
            node = node[parent]
        node[leaf] = value
    if isinstance(params["methods"], dict):
        groups = {
            group: [name for name in names if name in listed and name not in copies] for group, names in _GROUPS.items()
        }
        placed = {name for names in groups.values() for name in names} | set(copies)
        groups |= {"logits": [name for name in listed if name not in placed], "augmented": copies}
        params["methods"] = {group: groups.get(group, []) for group in params["methods"]}
    else:
        # In the order that the groups give: tables and plots follow the list.
        grouped = [name for names in _GROUPS.values() for name in names if name in listed and name not in copies]
        logits = [name for name in listed if name not in {*grouped, *copies}]
        last = [name for name in grouped if name in _GROUPS["generations"]]
        params["methods"] = [*logits, *(name for name in grouped if name not in last), *copies, *last]
        params["augment"]["methods"] = copies
    return params


def hashes(repo: Path) -> dict[str, str]:
    """The SHA-256 of every result."""
    found = {}
    for pattern in RESULTS:
        for path in repo.glob(pattern):
            name = path.relative_to(repo).as_posix()
            if path.is_file() and name not in MEASURED and path.name not in NOTES:
                for old, new in MOVED:
                    name = re.sub(old, new, name)
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return dict(sorted(found.items()))


def differences(old: Mapping[str, Mapping[str, str]], new: Mapping[str, Mapping[str, str]]) -> list[str]:
    """A line for every file that one side lacks, or that has other bytes."""
    lines = []
    for run_name in old:
        before, after = old[run_name], new.get(run_name, {})
        for name in sorted({*before, *after}):
            if before.get(name) != after.get(name):
                how = "only in the old" if name not in after else "only in the new" if name not in before else "differs"
                lines.append(f"{run_name}: {name}: {how}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
