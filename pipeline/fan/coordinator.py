"""Runs a pipeline's missing stages on several machines, as jobs that each wait for those that they need."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.repo import Repo

from distill.errors import UserError
from pipeline.fan import jobs
from pipeline.fan.backends.base import Backend, State, Submission
from pipeline.fan.desk import Desk
from pipeline.fan.jobs import Job
from pipeline.fan.journal import Journal, Running
from pipeline.fan.node import LOST
from pipeline.fan.progress import Progress
from pipeline.fan.store import Store


@dataclass(frozen=True)
class Settings:
    """How a fan-out runs.

    Attributes:
        slots: number of jobs at once.
        chunk: number of students in a job.
        retries: how often a lost job is submitted again.
        poll_seconds: time between two looks at the jobs.
    """

    slots: int
    chunk: int
    retries: int
    poll_seconds: float


class Coordinator:
    """Hands out jobs until nothing is missing.

    Args:
        desk: the clone that knows what is missing.
        backend: where jobs run.
        journal: what was submitted before.
        folder: for the jobs' files and logs, of this run.
        settings: how.
        progress: where it shows.
    """

    def __init__(
        self, desk: Desk, backend: Backend, journal: Journal, folder: Path, settings: Settings, progress: Progress
    ):
        self._desk, self._backend, self._journal, self._settings = desk, backend, journal, settings
        self._folder, self._progress = folder, progress
        self._running: dict[str, Running] = {item.job.name: item for item in journal.read()}
        self._again: dict[str, Job] = {}
        self._failed: dict[str, str] = {}
        self._blocked: set[str] = set()  # stages of failed jobs
        self._lost: Counter[str] = Counter()
        self._moved: dict[str, int] = {}  # jobs whose results were read -> bytes that they moved
        self._bundle: Path | None = None  # of the desk as it is now
        self._uploaded: set[str] = set()

    def run(self) -> None:
        """Returns when all stages that jobs can run have been run and pushed; at Ctrl-C jobs of this machine end.

        Raises:
            UserError: a job failed by itself, or was lost too often. The others have been run to their end.
        """
        try:
            self._run()
        except KeyboardInterrupt:
            if self._backend.ends_jobs:
                for item in self._running.values():
                    self._backend.cancel(item.handle)
                self._journal.write([])  # they are not lost: the next command plans them anew
            raise

    def _run(self) -> None:
        with Repo(str(self._desk.folder)) as repo:
            self._store = Store(repo, self._desk.run)
            self._store.check_writable("coordinator")
            for item in self._running.values():
                self._progress.say(f"{item.job.name}: submitted before, {self._backend.state(item.handle).word}")
            for name, result in self._take_results().items():
                if name not in self._running:
                    self._progress.before(result["seconds"], self._moved[name])
            while True:
                states = {name: self._backend.state(item.handle) for name, item in self._running.items()}
                for name, state in states.items():
                    if state.word == "ended":
                        self._end(self._running.pop(name), state)
                missing = self._desk.missing()
                self._submit(missing)
                if not self._running:
                    break
                shown = [(item, states.get(name, State("waiting")).word) for name, item in self._running.items()]
                self._progress.show(shown, len(missing - self._in_jobs()))
                time.sleep(self._settings.poll_seconds)
        if self._failed:
            name, line = next(iter(self._failed.items()))
            more = f" ({len(self._failed) - 1} more failed)" if len(self._failed) > 1 else ""
            raise UserError(f"{name}: {line}{more}; log: {self._log(name)}")

    def forget(self) -> None:
        """Removes what jobs have handed in from the remote, when all is collected."""
        self._store.forget()

    def _submit(self, missing: set[str]) -> None:
        stages = self._desk.stages
        taken = self._in_jobs() | self._blocked | {stage for job in self._again.values() for stage in job.stages}
        rank = jobs.by_shared_files(self._desk.signals())
        new = jobs.plan(list(stages.values()), missing - taken, self._settings.chunk, rank)
        for job in [*self._again.values(), *new]:
            free = set(range(self._settings.slots)) - {item.slot for item in self._running.values()}
            if free and jobs.ready(job, stages, missing):
                self._again.pop(job.name, None)
                file = self._write(job)
                with _deferred_interrupts():
                    handle = self._backend.submit(Submission(job.name, file, min(free), self._log(job.name)))
                    self._running[job.name] = Running(job, handle, min(free), time.time())
                    self._journal.write(self._running.values())
                self._progress.say(f"{job.name}: submitted, {len(job.stages)} stages")

    def _in_jobs(self) -> set[str]:
        """The stages of the running jobs."""
        return {stage for item in self._running.values() for stage in item.job.stages}

    def _write(self, job: Job) -> Path:
        """The job's file, with the clone to start from beside it."""
        if self._bundle is None:
            self._bundle = self._folder / "current.bundle"
            self._desk.bundle(self._bundle)
        reads = jobs.reads(job, self._desk.stages)
        if new := [path for path in reads if path not in self._uploaded and not self._desk.handed_in(path)]:
            self._desk.push(new)
            self._uploaded |= set(new)
        file = (self._folder / f"{job.name}.json").absolute()
        content = {
            "name": job.name,
            "run": self._desk.run,
            "units": job.units,
            "reads": [*(self._desk.data if job.kind == "base" else ()), *reads],
            "config": self._desk.config,
            "cache": str(self._desk.cache) if self._backend.shared else None,
        }
        file.touch(mode=0o600)  # the configuration may hold the remote's secrets
        file.write_text(json.dumps(content), encoding="utf-8")
        file.with_suffix(".bundle").unlink(missing_ok=True)
        os.link(self._bundle, file.with_suffix(".bundle"))
        return file

    def _end(self, item: Running, state: State) -> None:
        name = item.job.name
        self._take_results()
        if name in self._moved:
            missing = self._desk.missing() & set(item.job.stages)
            if not missing:
                self._progress.ended(item, "done", self._moved[name])
            else:  # its inputs are others than dvc.lock says: it would be run for ever
                self._fail(item, f"made {', '.join(sorted(missing))} of other inputs than this workspace has")
        elif state.code is None or state.code in (0, LOST) or state.code > 125:
            self._lost[name] += 1
            if self._lost[name] > self._settings.retries:
                self._fail(item, f"lost {self._lost[name]} times")
            else:
                self._again[name] = item.job
                self._progress.ended(item, "lost")
        else:
            self._fail(item, self._reason(name) or f"ended with code {state.code}")
        self._journal.write(self._running.values())

    def _fail(self, item: Running, line: str) -> None:
        self._failed[item.job.name] = line
        self._blocked |= set(item.job.stages)
        self._progress.ended(item, f"failed: {line}")

    def _take_results(self) -> dict[str, dict[str, Any]]:
        """Adds what jobs have handed in since, which may be others than the one that was seen to end; by job."""
        new = self._store.results(self._moved.keys())
        for name, result in new.items():
            self._desk.take(result)
            self._moved[name] = result["read_bytes"] + result["written_bytes"]
            self._bundle = None
        return new

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _reason(self, name: str) -> str:
        """The last line of a log that begins with `error:`."""
        try:
            lines = self._log(name).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return told[-1] if told else ""


@contextlib.contextmanager
def _deferred_interrupts() -> Iterator[None]:
    """Ctrl-C takes effect at the end, and never in processes that begin in here, where submitit's would be tracebacks.

    A terminal sends it to all processes of the command. Those that begin with it blocked keep that.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
