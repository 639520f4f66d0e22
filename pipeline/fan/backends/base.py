"""What every way of running jobs has: submit, look, cancel."""

from __future__ import annotations

import importlib
import shlex
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol

from distill.errors import UserError


@dataclass(frozen=True)
class Submission:
    """A job as a backend gets it.

    Attributes:
        name: its name.
        file: the job, JSON, with the clone to start from beside it (`.bundle`).
        slot: number of the slot that it takes, from 0.
        log: where its output goes, for backends whose workers see this machine's files.
    """

    name: str
    file: Path
    slot: int
    log: Path

    @property
    def bundle(self) -> Path:
        return self.file.with_suffix(".bundle")


@dataclass(frozen=True)
class State:
    """How a job stands.

    Attributes:
        word: `waiting`, `running` or `ended`.
        code: exit code where it has ended; None: unknown, as of a machine that has gone.
    """

    word: str
    code: int | None = None


class Backend(Protocol):
    """An engine that runs jobs."""

    #: Whether its workers see the files of this machine, and its DVC cache.
    shared: bool
    #: Whether the coordinator ends the jobs at Ctrl-C: those on its own machine.
    ends_jobs: bool

    def submit(self, job: Submission) -> str:
        """Hands a job to the engine; returns a name by which a later process finds it again."""

    def state(self, handle: str) -> State:
        """How a job stands. One that the engine does not know has ended."""

    def cancel(self, handle: str) -> None:
        """Ends a job."""


def script(name: str, job: str, work: str, setup: str = "") -> str:
    """Shell commands that a worker runs: a clone, and in it `pipeline.fan.node`.

    Args:
        name: the job's name.
        job: the job's file on the worker, with its bundle beside it, as a word of the shell.
        work: folder for clones on the worker, which the shell expands within double quotes: `$HOME/fan`.
        setup: commands to run in the clone before, such as those that make or activate the environment.
    """
    repo = f'"{work}"/{shlex.quote(name)}'
    return "\n".join(
        [
            "set -e",
            f"job={job}",
            f'mkdir -p "{work}"',
            f"if ! test -d {repo}/.git; then",
            f"  rm -rf {repo}.new",
            f'  git clone --quiet --branch fan "${{job%.json}}.bundle" {repo}.new',
            f"  mv {repo}.new {repo}",
            "fi",
            f"cd {repo}",
            *([setup] if setup else []),
            'export PYTHONPATH="$PWD/src:$PWD"',
            'exec python -m pipeline.fan.node "$job"',
        ]
    )


def load(module: str, extra: str) -> ModuleType:
    """An engine's package, which is not installed by default.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"--backend needs {module} ({error}): pip install -c constraints.txt -e '.[{extra}]'"
        ) from error
