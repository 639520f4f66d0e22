"""Run what is missing of the pipeline as jobs on several machines, and collect it: the bytes of a plain `dvc repro`.

    python -m pipeline.commands.fan --backend slurm --slots 8 --chunk 5

Killed and started again, it goes on. docs/scale.md says what each backend needs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from pipeline.fan import jobs
from pipeline.fan.backends import registry
from pipeline.fan.coordinator import Coordinator, Settings
from pipeline.fan.desk import Desk, run_dvc
from pipeline.fan.estimate import schedule_estimate
from pipeline.fan.journal import Journal
from pipeline.fan.progress import Progress, duration
from pipeline.process import command
from pipeline.process.locks import exclusive
from pipeline.process.records import RUNS, read_record

FOLDER = Path(".scratch/fan")


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code of the last `dvc repro`.

    Raises:
        UserError: something that the user can mend.
    """
    options = _parser().parse_args(argv)
    with exclusive(FOLDER / "lock", "a fan-out", wait_seconds=0):
        if options.cancel:
            cancel(options)
            return command.DONE
        desk = Desk(Path.cwd(), (FOLDER / "desk").absolute())
        folder = (FOLDER / desk.run).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if options.plan:
            show_plan(desk, options)
            return command.DONE
        backend = registry.make(options.backend, folder, options)
        journal = Journal(folder, options.backend)
        settings = Settings(options.slots, options.chunk, options.retries, options.poll)
        with Progress(options.price, options.slots) as progress:
            coordinator = Coordinator(desk, backend, journal, folder, settings, progress)
            coordinator.run()
        print("collecting: dvc repro --pull", flush=True)
        code = run_dvc(Path.cwd(), "repro", "--pull", check=False)
        if not code:
            coordinator.forget()
    return code


def cancel(options: argparse.Namespace) -> None:
    """End all jobs that are on record, whatever the parameters were, and on whatever backend."""
    recorded = Journal.recorded(FOLDER)
    for journal in recorded:
        backend = registry.make(journal.backend, journal.folder.absolute(), options)
        for item in journal.read():
            backend.cancel(item.handle)
            print(f"{item.job.name}: cancelled on {journal.backend}")
        journal.write([])
    if not recorded:
        print("nothing to cancel: no job is on record")


def show_plan(desk: Desk, options: argparse.Namespace) -> None:
    """Print the jobs, and what they take by the times of the last run's stages."""
    planned = jobs.plan(list(desk.stages.values()), desk.missing(), options.chunk, jobs.by_shared_files(desk.signals()))
    seconds, unknown = recorded_seconds(Path.cwd() / RUNS, {name for job in planned for name in job.stages})
    estimate = schedule_estimate(planned, desk.stages, seconds, options.slots)
    for job in planned:
        taken, end = duration(sum(map(seconds, job.stages))), duration(estimate.ends[job.name])
        print(f"{job.name:40} {len(job.stages):4} stages {taken:>14}, ends at {end}")
    print(
        f"{len(planned)} jobs on {options.slots} slots: {duration(estimate.seconds)}, of slots"
        f" {duration(estimate.busy_seconds)}" + (f", cost {estimate.cost(options.price):,.2f}" if options.price else "")
    )
    if unknown:
        print(f"counted as 0 s, for want of a record in {RUNS}: {', '.join(sorted(unknown))}")


def recorded_seconds(folder: Path, stages: set[str]) -> tuple[Callable[[str], float], set[str]]:
    """How long stages took when they last ran here; of a new one, as long as others of its kind.

    Args:
        folder: of the records.
        stages: names of those that are asked for.

    Returns:
        Name of a stage -> seconds, and the kinds of stages of which nobody knows.
    """
    records = [read_record(path) for path in sorted(folder.glob("*.json"))]
    exact = {record["stage"]: record["seconds"] for record in records if record.get("seconds") is not None}
    kinds: dict[str, list[float]] = {}
    for name, taken in exact.items():
        kinds.setdefault(_kind(name), []).append(taken)
    means = {kind: statistics.fmean(taken) for kind, taken in kinds.items()}
    unknown = {_kind(name) for name in stages if name not in exact and _kind(name) not in means}
    return lambda name: exact.get(name, means.get(_kind(name), 0.0)), unknown


def _kind(stage: str) -> str:
    """`evaluate_baseline@ft-4` takes as long as `evaluate@ft-1`."""
    return stage.partition("@")[0].removesuffix("_baseline").removesuffix("_confirm").removesuffix("_control")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.commands.fan",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--backend", choices=registry.NAMES, default="local", help="where jobs run (default: local)")
    parser.add_argument("--slots", type=_count, default=2, help="jobs at once (default: 2)")
    parser.add_argument("--chunk", type=_count, default=4, help="students in a job (default: 4)")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs of a job (default: 0; here: all see the same)")
    parser.add_argument("--retries", type=int, default=3, help="how often a lost job is run again (default: 3)")
    parser.add_argument("--price", type=float, default=0.0, help="cost of a slot per hour, for the sum that is shown")
    parser.add_argument("--poll", type=float, default=5.0, help="seconds between two looks at the jobs (default: 5)")
    parser.add_argument("--work", help="folder for clones on the workers (default: below .scratch, elsewhere ~/fan)")
    parser.add_argument(
        "--setup", default="", help="shell commands in the clone before each job: make env && . .venv/bin/activate"
    )
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        type=_option,
        metavar="NAME=VALUE",
        help="of the backend: slurm_partition=gpu, timeout_min=600; infra=aws, accelerators=L4:1; address=…",
    )
    parser.add_argument("--cancel", action="store_true", help="end all jobs of earlier commands, on any backend")
    parser.add_argument("--plan", action="store_true", help="print the jobs, their time and cost, and end")
    return parser


def _count(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number, 1 or more")
    return int(text)


def _option(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=VALUE")
    return name, yaml.safe_load(value)


if __name__ == "__main__":
    sys.exit(command.run(main))
