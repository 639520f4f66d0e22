"""Stages in processes of their own that start at once: forked from a server that has imported everything.

A stage run like this is what `python -m pipeline.<name>` runs, in its own process, with its own code to end with; only
the seconds of importing torch and transformers are saved. It can be told to `kill -9` itself before its n-th file
operation: every write, rename and removal by Python is one, found by an audit hook, so no stage knows of it.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from tests.helpers import forkserver, micro


class Done(NamedTuple):
    """How a stage ended: exit code (negative: the signal), what it printed, and its number of file operations."""

    code: int
    out: str
    err: str
    operations: int


class Started(NamedTuple):
    """A stage that runs: its pid, the folder of what it prints, and its process."""

    pid: int
    folder: Path
    process: BaseProcess


class Server:
    """Runs stages; use it in a `with` statement."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._count = 0

    def __enter__(self) -> "Server":
        forkserver.launch()
        return self

    def __exit__(self, *error: object) -> None:
        forkserver.kill_all()

    def start(
        self,
        repo: Path,
        stage: str,
        *words: str,
        env: dict[str, str] | None = None,
        kill_at: int = 0,
        outside: str = "",
        setup: str = "",
        photos: Path | None = None,
    ) -> Started:
        """Start a stage in a repository.

        Args:
            repo: its cwd and its DVC_ROOT.
            env: on top of `micro.environment()`.
            kill_at: `kill -9` itself before this file operation, counted from 1; 0: never.
            outside: count only operations on paths that do not contain this.
            setup: Python code to run before, in the stage's process.
            photos: folder, outside of the repository, for copies of its .scratch; see `as_killed_at`.
        """
        return self._start(repo, [(stage, *words)], env, kill_at, outside, setup, photos)

    def _start(
        self,
        repo: Path,
        stages: list[tuple[str, ...]],
        env: dict[str, str] | None = None,
        kill_at: int = 0,
        outside: str = "",
        setup: str = "",
        photos: Path | None = None,
    ) -> Started:
        self._count += 1
        folder = self.folder / str(self._count)
        folder.mkdir(parents=True)
        environment = micro.environment(**{"DVC_ROOT": str(repo)} | (env or {}))
        process = forkserver.start(_run, str(repo), stages, environment, folder, kill_at, outside, setup, photos)
        return Started(process.pid, folder, process)

    def wait(self, started: Started) -> Done:
        """Wait for the end of what `start` started."""
        code = forkserver.wait(started.process)
        out, err = ((started.folder / name).read_text() for name in ("out", "err"))
        operations = started.folder / "operations"
        return Done(code, out, err, int(operations.read_text()) if operations.exists() else -1)

    def run(self, repo: Path, stage: str, *words: str, check: bool = True, **options) -> Done:
        """`start` and `wait`; with `check`, any end but success is an AssertionError."""
        done = self.wait(self.start(repo, stage, *words, **options))
        assert not (check and done.code), f"{stage} {words} ended with {done.code}:\n{done.out}\n{done.err}"
        return done

    def run_all(self, repo: Path, stages: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
        """Run stages one after the other in one process, for half of what a process each costs; all must succeed.

        For what a test is given. The pipeline itself starts a process for each stage: so do tests of DVC and of kills.

        Returns:
            Stage and words -> what it printed.
        """
        stages = list(stages)
        started = self._start(repo, stages)
        done = self.wait(started)
        assert not done.code, f"one of {stages} ended with {done.code}:\n{done.out}\n{done.err}"
        printed = [(started.folder / f"out-{n}").read_text() for n in range(len(stages))]
        return dict(zip(stages, printed, strict=True))

    def kill_when(self, repo: Path, stage: str, *words: str, condition: Callable[[], bool], **options) -> Done:
        """Start a stage and `kill -9` it as soon as the condition holds."""
        started = self.start(repo, stage, *words, **options)
        while not (condition() or forkserver.has_ended(started.process, 0.002)):
            pass
        started.process.kill()
        return self.wait(started)


def _run(
    repo: str,
    stages: list[tuple[str, ...]],
    environment: dict[str, str],
    folder: Path,
    kill_at: int,
    outside: str,
    setup: str,
    photos: Path | None,
) -> None:
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
    forkserver.enter(repo, environment, [])
    exec(setup, {})
    count = _watch(repo, kill_at, outside, photos)
    try:
        for n, (stage, *words) in enumerate(stages):
            sys.argv = [f"pipeline/{stage}.py", *words]
            module = sys.modules[f"pipeline.{stage}"]
            begin = os.fstat(1).st_size
            try:
                module.run_stage(module.main)
            except SystemExit as end:
                if end.code:
                    raise
            sys.stdout.flush()
            (folder / f"out-{n}").write_bytes((folder / "out").read_bytes()[begin:])
    finally:
        (folder / "operations").write_text(str(count[0]))


_EVERY = 10
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}


def as_killed_at(operation: int, photos: Path, repo: Path) -> None:
    """Put a repository's .scratch back as a `kill -9` before (at most `_EVERY`) operations would have left it.

    For the price of a copy, where running the stage again up to there costs half a training. A stage that has not begun
    to hand over has changed nothing else.
    """
    shutil.rmtree(repo / ".scratch", ignore_errors=True)
    shutil.copytree(photos / str(operation // _EVERY * _EVERY), repo / ".scratch", symlinks=True)


def _watch(repo: str, kill_at: int, outside: str, photos: Path | None) -> list[int]:
    """Counts the file operations in `repo`, and ends the process before the one that is `kill_at`."""
    count = [0]

    def hook(event: str, values: tuple) -> None:
        if event == "open":
            changing = isinstance(values[2], int) and values[2] & (os.O_WRONLY | os.O_RDWR)
        else:
            changing = event in _CHANGES
        if not changing or not isinstance(values[0], (str, os.PathLike)):
            return
        path = os.path.abspath(os.fspath(values[1] if event == "os.rename" else values[0]))
        if repo not in path or (outside and outside in path):
            return
        count[0] += 1
        if photos and count[0] % _EVERY == 0 and (scratch := Path(repo, ".scratch")).is_dir():
            shutil.copytree(scratch, photos / str(count[0]), symlinks=True)
        if count[0] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return count
