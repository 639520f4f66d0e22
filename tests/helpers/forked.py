"""Stages in processes of their own that start at once: forked from a server that has imported everything.

A stage run like this is what `python -m pipeline.<name>` runs, in its own process, with its own code to end with; only
the seconds of importing torch and transformers are saved. It can be told to `kill -9` itself before its n-th file
operation: every write, rename and removal by Python is one, found by an audit hook, so no stage knows of it.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.helpers import micro

STAGES = ("corpus", "prepare", "finetune", "plan", "predict", "train_filters", "distill", "evaluate", "summarize")
STAGES += ("assistant", "generator", "retrieve", "augment", "generations", "cost", "export")
# What they import late.
LATE = ("datasets", "evaluate", "mlflow.tracking", "transformers.models.deberta_v2.modeling_deberta_v2")


class Done(NamedTuple):
    """How a stage ended: exit code (negative: the signal), what it printed, and its number of file operations."""

    code: int
    out: str
    err: str
    operations: int


class Server:
    """Runs stages; use it in a `with` statement."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._asked = 0

    def __enter__(self) -> "Server":
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.helpers import forked; forked.serve()"],
            cwd=micro.ROOT,
            env=micro.environment(PYTHONPATH=f"{micro.ROOT}{os.pathsep}{micro.ROOT / 'src'}"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def start(
        self,
        repo: Path,
        stage: str,
        *words: str,
        env: dict[str, str] | None = None,
        kill_at: int = 0,
        outside: str = "",
        setup: str = "",
    ) -> tuple[int, Path]:
        """Start a stage in a repository.

        Args:
            repo: its cwd and its DVC_ROOT.
            env: on top of `micro.environment()`.
            kill_at: `kill -9` itself before this file operation, counted from 1; 0: never.
            outside: count only operations on paths that do not contain this.
            setup: Python code to run before, in the stage's process.

        Returns:
            Its pid, and the folder of what it prints.
        """
        folder = self.folder / str(self._asked + 1)
        folder.mkdir(parents=True)
        environment = micro.environment(DVC_ROOT=str(repo), **(env or {}))
        request = {"repo": str(repo), "stage": stage, "words": words, "env": environment, "folder": str(folder)}
        request |= {"kill_at": kill_at, "outside": outside, "setup": setup}
        return int(self._ask(request)), folder

    def wait(self, started: tuple[int, Path]) -> Done:
        """Wait for the end of what `start` started."""
        pid, folder = started
        code = os.waitstatus_to_exitcode(int(self._ask({"wait": pid})))
        out, err = ((folder / name).read_text() for name in ("out", "err"))
        operations = folder / "operations"
        return Done(code, out, err, int(operations.read_text()) if operations.exists() else -1)

    def run(self, repo: Path, stage: str, *words: str, check: bool = True, **options) -> Done:
        """`start` and `wait`; with `check`, any end but success is an AssertionError."""
        done = self.wait(self.start(repo, stage, *words, **options))
        assert not (check and done.code), f"{stage} {words} ended with {done.code}:\n{done.out}\n{done.err}"
        return done

    def kill_when(self, repo: Path, stage: str, *words: str, condition: Callable[[], bool], **options) -> Done:
        """Start a stage and `kill -9` it as soon as the condition holds."""
        started = self.start(repo, stage, *words, **options)
        with contextlib.suppress(ProcessLookupError):
            while not condition():
                os.kill(started[0], 0)
                if (Path("/proc") / str(started[0]) / "stat").read_text().split()[2] == "Z":
                    break
                time.sleep(0.002)
            os.kill(started[0], signal.SIGKILL)
        return self.wait(started)

    def _ask(self, request: dict) -> str:
        self._asked += 1
        self._process.stdin.write(json.dumps(request | {"number": self._asked}) + "\n")
        self._process.stdin.flush()
        while line := self._process.stdout.readline():
            number, answer = line.split()
            if int(number) == self._asked:  # others are answers to a test that was given up on
                return answer
        raise RuntimeError("the server of stages has ended")


def serve() -> None:
    """The server: one request per line; forks a child for each stage, never computes itself."""
    for name in (*(f"pipeline.{stage}" for stage in STAGES), *LATE):
        importlib.import_module(name)
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    from distill.methods import registry

    for method in registry.available():
        registry.load(method)
    get_checkpoint_conversion_mapping("bert")  # patterns that transformers compiles when the first checkpoint is loaded
    gc.freeze()  # or every child goes through, and copies, all of the above when it collects garbage
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        number = request.pop("number")
        if "wait" in request:
            print(number, os.waitpid(request["wait"], 0)[1], flush=True)
        elif pid := os.fork():
            print(number, pid, flush=True)
        else:
            os._exit(_child(**request))


def _child(
    repo: str, stage: str, words: list[str], env: dict, folder: str, kill_at: int, outside: str, setup: str
) -> int:
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(repo)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [f"pipeline/{stage}.py", *words]
    module = sys.modules[f"pipeline.{stage}"]
    exec(setup, {})
    count = _watch(repo, kill_at, outside)
    code = 1
    try:
        module.run_stage(module.main)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    Path(folder, "operations").write_text(str(count[0]))
    return code


_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}


def _watch(repo: str, kill_at: int, outside: str) -> list[int]:
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
        if count[0] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return count
