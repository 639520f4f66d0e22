"""Which of the missing stages go to which machine: pure functions over the stages of a pipeline.

A job is what one worker does with one clone: stages of several students, one student after the other. What comes
before the students (data, models, what methods learn from) is a chain, and one job.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from pipeline.fan.graph import EVERYWHERE, Listing, Stage

#: Stages that only the last `dvc repro` runs: `cost` times the machine that the report is made on.
AT_THE_END = ("cost", "summarize")
#: Stages that train a student.
STUDENTS = ("distill", "distill_baseline", "distill_confirm")
#: Kinds of jobs, in the order in which they are handed out.
KINDS = ("base", "models", "students", "later")


@dataclass(frozen=True)
class Job:
    """What one worker does.

    Attributes:
        kind: `base`: all before the students; `models`: the scores of teacher and student; `students`; `later`: what
            needs several students, or a student and those scores.
        units: names of stages that are run, pushed and counted together, unit by unit.
    """

    kind: str
    units: tuple[tuple[str, ...], ...]

    @property
    def stages(self) -> tuple[str, ...]:
        """All its stages, in the order in which they run."""
        return tuple(stage for unit in self.units for stage in unit)

    @property
    def name(self) -> str:
        """Its name, by which a coordinator that was started again knows it: `students-kd-1-3f2a81`."""
        digest = hashlib.sha256("\n".join(self.stages).encode()).hexdigest()[:6]
        item = self.units[0][0].partition("@")[2]
        return "-".join(part for part in (self.kind, item, digest) if part)


def plan(stages: Sequence[Stage], missing: Collection[str], chunk: int, rank: Callable[[str], int]) -> list[Job]:
    """Groups missing stages into jobs, in the order in which they are to be handed out.

    Args:
        stages: all stages, each after those that it needs.
        missing: names of those to run.
        chunk: number of students in a job.
        rank: name of a method -> its place in the order in which students are chunked, so that those which read the
            same caches come to the same worker (`by_shared_files`).
    """
    units: dict[tuple[str, str], list[str]] = {}
    for name, key in _units(stages).items():
        if name in missing:
            units.setdefault(key, []).append(name)
    jobs: list[Job] = []
    for kind in KINDS:
        keys = [key for key in units if key[0] == kind]
        if kind in ("students", "later"):
            keys.sort(key=lambda key: (rank(method(key[1])), *_parts(key[1])))
        size = chunk if kind in ("students", "later") else max(1, len(keys))
        for begin in range(0, len(keys), size):
            jobs.append(Job(kind, tuple(tuple(units[key]) for key in keys[begin : begin + size])))
    return jobs


def ready(job: Job, stages: Mapping[str, Stage], missing: Collection[str]) -> bool:
    """Whether nothing that the job needs is still missing, but for what it makes itself."""
    own = set(job.stages)
    return not any(need in missing and need not in own for name in own for need in stages[name].needs)


def method(item: str) -> str:
    """The name of a method in the item of a student: `kd-1` -> `kd`."""
    return item.rpartition("-")[0]


def by_shared_files(listing: Listing | None) -> Callable[[str], int]:
    """An order of the methods in which those that learn from the same files stand side by side.

    Begins with the method that reads most files, and goes on with the one that shares most with the last.

    Args:
        listing: of data/signals, whose folders are the methods'; None: not known, methods stay in their order.

    Returns:
        Name of a method -> its place.
    """
    files: dict[str, set[str]] = {}
    for file in listing or []:
        files.setdefault(file["relpath"].partition("/")[0], set()).add(file["md5"])
    order: list[str] = []
    while left := sorted(files.keys() - set(order)):
        last = files[order[-1]] if order else set()
        order.append(max(left, key=lambda name: (len(files[name] & last), len(files[name]))))
    places = {name: place for place, name in enumerate(order)}
    return lambda name: places.get(name, len(places))


def reads(job: Job, stages: Mapping[str, Stage]) -> list[str]:
    """Paths that a worker fetches for a job: what its stages read of other jobs' outputs, as little as there is.

    Where a stage reads a folder of several outputs, these are named: DVC's own `--pull` takes a folder that exists for
    complete, and Git makes some of them.
    """
    own = set(job.stages)
    outs = {out: stage for stage in stages.values() for out in stage.outs if out not in stage.loose}
    listed: dict[str, None] = {}
    for name in job.stages:
        for dep in stages[name].deps:
            for out, maker in outs.items():
                if maker.name in own or maker.name == EVERYWHERE:
                    continue
                if dep == out or dep.startswith(f"{out}/"):
                    listed[dep] = None
                elif out.startswith(f"{dep}/"):
                    listed[out] = None
    return list(listed)


def _units(stages: Sequence[Stage]) -> dict[str, tuple[str, str]]:
    """Stage -> kind and key of the unit that it belongs to; those that no job runs are left out."""
    students: dict[str, set[str]] = {}  # stage -> the students that it comes from
    models: set[str] = set()  # stages that read scores of the models that no student comes from
    before = _before_students(stages)
    units: dict[str, tuple[str, str]] = {}
    for stage in stages:
        if stage.data or stage.name == EVERYWHERE or stage.base in AT_THE_END:
            continue
        known = set().union(*(students.get(need, set()) for need in stage.needs))
        students[stage.name] = known | ({stage.item} if stage.base in STUDENTS else set())
        if not students[stage.name]:
            kind = "base" if stage.name in before else "models"
            models |= {stage.name} if kind == "models" else set()
            units[stage.name] = (kind, kind)
        elif len(students[stage.name]) == 1 and not models & set(stage.needs):
            units[stage.name] = ("students", next(iter(students[stage.name])))
        else:
            units[stage.name] = ("later", stage.item)
    return units


def _before_students(stages: Sequence[Stage]) -> set[str]:
    before: set[str] = set()
    for stage in reversed(stages):
        if stage.base in STUDENTS or stage.name in before:
            before |= set(stage.needs)
    return before


def _parts(item: str) -> tuple[str, int]:
    name, _, seed = item.rpartition("-")
    return (name, int(seed)) if seed.isdigit() else (item, 0)
