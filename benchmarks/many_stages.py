"""DVC's own time with many methods and seeds: `dvc repro` with nothing to do, and after a change of one method.

    python -m benchmarks.many_stages [--methods 21] [--seeds 5] [--quick]

clones this checkout's last commit, lists so many methods and seeds, and puts stand-ins that write a line in
place of all stages but `inputs`. Then it times `dvc` and `pipeline.commands.quick_dvc` there, one after the other, and
says the seconds of the clock and of the processor for each, DVC's and those of the stages that ran.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks import rounds
from benchmarks.project import executed, search_path
from distill.config import reading
from distill.experiments import params_file
from distill.methods import registry

#: The study that the first design was measured for had so many.
METHODS, SEEDS = 21, 5
DVC = ("-m", "dvc")
QUICK = ("-m", "pipeline.commands.quick_dvc")
#: Whose parameter is changed.
CHANGED = "kd"
#: Stages that are run as they are: what `inputs` costs is part of every run.
REAL = ("inputs",)


class Took(NamedTuple):
    """Seconds of the clock and of the processor, and how many stages ran."""

    wall: float
    processor: float
    stages: int


def project(folder: Path, methods: int, seeds: int) -> Path:
    """A clone of the last commit with stand-ins for its stages, committed; nothing has run."""
    repo = folder / "repo"
    subprocess.run(["git", "clone", "--quiet", str(rounds.ROOT), str(repo)], check=True)
    stages = yaml.safe_load((repo / "dvc.yaml").read_text(encoding="utf-8"))
    text = (repo / "params.yaml").read_text(encoding="utf-8")
    names = [CHANGED, *(name for name in registry.available() if name != CHANGED)][:methods]
    data = reading.parse(text, "params.yaml")["data"]
    read = {data["train"], data["validation"], *_inside(stages["stages"], names)}
    for name, entry in stages["stages"].items():
        if name not in REAL:
            made = list(_outputs(entry))
            inside = sorted(path for path in read if path.startswith(tuple(f"{output}/" for output in made)))
            entry["cmd"] = " && ".join(_written(path) for path in (*made, *inside))
    (repo / "dvc.yaml").write_text(yaml.safe_dump(stages, sort_keys=False), encoding="utf-8")
    changes = {("methods",): names, ("seeds",): list(range(1, seeds + 1)), ("teacher", "snapshots"): 2}
    (repo / "params.yaml").write_text(params_file.replace(text, changes), encoding="utf-8")
    identity = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost"]
    subprocess.run(["git", *identity, "commit", "--quiet", "-am", "stand-ins"], cwd=repo, check=True)
    return repo


def _outputs(entry: Mapping[str, Any]) -> Iterator[str]:
    for section in ("outs", "metrics", "plots"):
        for item in entry.get(section, ()):
            yield item if isinstance(item, str) else next(iter(item))


def _inside(stages: Mapping[str, Any], methods: list[str]) -> Iterator[str]:
    """Dependencies of all stages, one for each method where they have its name; other templates are left out."""
    for path in (str(path) for entry in stages.values() for path in entry.get("deps", ())):
        for name in methods:
            if "${" not in (filled := path.replace("${item.method}", name)):
                yield filled


def _written(path: str) -> str:
    """A shell command that makes a file, another one each time, or a folder with one where the name has no suffix."""
    file = path if Path(path).suffix else f"{path}/line.json"
    return f"mkdir -p {Path(file).parent.as_posix()} && date +%s%N > {file}"


def run(repo: Path, *words: str) -> Took:
    """Run a module of Python there.

    Raises:
        RuntimeError: it failed; with the end of what it printed.
    """
    code = os.pathsep.join([str(repo / "src"), str(repo)])
    environment = rounds.environment() | {"PYTHONPATH": code, "PATH": search_path()}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *words], cwd=repo, env=environment, capture_output=True, encoding="utf-8")
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(wall, processor, len(executed(done.stdout)))


def measure(repo: Path, quick: bool) -> Iterator[tuple[str, Took]]:
    """Name of a command → what it took; the project is run first."""
    yield "quick_dvc repro, all of it", run(repo, *QUICK, "repro")
    programs = {"quick_dvc": QUICK} if quick else {"dvc": DVC, "quick_dvc": QUICK}
    for name, program in programs.items():
        yield f"{name} repro with nothing to do", run(repo, *program, "repro")
    for number, (name, program) in enumerate(programs.items()):
        path = repo / "params.yaml"
        text = path.read_text(encoding="utf-8")
        path.write_text(params_file.replace(text, {(CHANGED, "temperature"): 4 + number}), encoding="utf-8")
        yield f"{name} repro after a change of {CHANGED}.temperature", run(repo, *program, "repro")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="time DVC with many stages")
    parser.add_argument("--methods", type=int, default=METHODS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--quick", action="store_true", help="quick_dvc alone")
    options = parser.parse_args()
    print("| command | seconds | of the processor | stages that ran |\n|---|---:|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, took in measure(project(Path(folder), options.methods, options.seeds), options.quick):
            print(f"| {name} | {took.wall:.1f} | {took.processor:.1f} | {took.stages} |", flush=True)


if __name__ == "__main__":
    main()
