"""A process that has imported the project with the hub's settings in its environment, and forks what it is told to run.

The hub's libraries read HF_ENDPOINT, HF_HOME and the timeouts when they are imported, so the fork server of the other
tests, which is offline, cannot be sent to another hub afterwards. Each line of the standard input is a job.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import NamedTuple

from tests.helpers import micro

#: The stages that are imported before the first fork.
STAGES = ("inputs", "prepare", "finetune")


class Ended(NamedTuple):
    """How a job ended: exit code, and what it printed."""

    code: int
    out: str
    err: str


class Client:
    """Starts jobs in forks of that process; use it in a `with` statement.

    Args:
        folder: For what jobs print, and HF_HOME.
        endpoint: The hub.
        env: Settings beside these.
    """

    def __init__(self, folder: Path, endpoint: str, **env: str):
        self.folder, self.home, self._count = folder, folder / "home", 0
        self._env = micro.environment(
            HF_ENDPOINT=endpoint,
            HF_HOME=str(self.home),
            HF_HUB_OFFLINE="0",
            HF_HUB_DISABLE_PROGRESS_BARS="1",
            NO_PROXY="127.0.0.1,localhost",
            PYTHONPATH=os.pathsep.join((str(micro.ROOT), str(micro.ROOT / "src"))),
            **env,
        )
        for name in (
            "HF_TOKEN",
            "HUGGING_FACE_HUB_TOKEN",
            "HF_HUB_CACHE",
            "HF_DATASETS_CACHE",
            "HF_ASSETS_CACHE",
            "HF_TOKEN_PATH",
        ):
            self._env.pop(name, None)

    def __enter__(self) -> "Client":
        self.folder.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-m", "tests.helpers.hub_process"]
        self._process = subprocess.Popen(words, env=self._env, stdin=subprocess.PIPE, text=True, cwd=self.folder)
        return self

    def __exit__(self, *error: object) -> None:
        self._process.stdin.close()
        self._process.wait()

    def start(self, repo: Path, code: str, env: dict[str, str] | None = None, offline: bool = False) -> Path:
        """Run Python code in a repository, as a stage is run; the folder of what it prints.

        Args:
            env: On top of the process's.
            offline: As with HF_HUB_OFFLINE=1.
        """
        self._count += 1
        folder = self.folder / f"job-{self._count}"
        folder.mkdir()
        job = {"repo": str(repo), "code": code, "env": env or {}, "offline": offline, "folder": str(folder)}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return folder

    def wait(self, folder: Path) -> Ended:
        """Wait for the end of what `start` started."""
        while not (folder / "code").exists():
            assert self._process.poll() is None, "the process that forks has ended"
            time.sleep(0.02)
        return Ended(int((folder / "code").read_text()), *((folder / name).read_text() for name in ("out", "err")))

    def run(self, repo: Path, code: str, check: bool = True, **options) -> Ended:
        """`start` and `wait`; with `check`, any end but success is an AssertionError."""
        done = self.wait(self.start(repo, code, **options))
        assert not (check and done.code), f"{code} ended with {done.code}:\n{done.out}\n{done.err}"
        return done


def stage(name: str, *words: str) -> str:
    """Code that runs a stage."""
    return f"import pipeline.{name} as module, sys; sys.argv = {[name, *words]!r}; run_stage(module.main)"


def loads(code: str) -> str:
    """Code that ends with one line and 2 where it raises a UserError, as a stage does."""
    return f"try:\n    {code}\nexcept UserError as error:\n    print('error:', error, file=sys.stderr)\n    sys.exit(2)"


def _run(job: dict) -> None:
    """The child: never comes back."""
    code, folder = 1, Path(job["folder"])
    try:
        for name, number in (("out", 1), ("err", 2)):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
        os.chdir(job["repo"])
        os.environ.update({"DVC_ROOT": job["repo"]} | job["env"])
        if job["offline"]:  # the two constants that HF_HUB_OFFLINE is read into
            sys.modules["huggingface_hub.constants"].HF_HUB_OFFLINE = True
            sys.modules["datasets.config"].HF_HUB_OFFLINE = True
        time.sleep = lambda seconds, sleep=time.sleep: sleep(seconds / 20)  # the client's waits between its attempts
        from distill.errors import UserError
        from pipeline.launch.run import run_stage

        exec(job["code"], {"run_stage": run_stage, "UserError": UserError, "sys": sys})
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        (folder / "code.part").write_text(str(code))
        (folder / "code.part").rename(folder / "code")
        os._exit(code)


def main() -> None:
    for name in STAGES:
        importlib.import_module(f"pipeline.{name}")
    importlib.import_module("datasets")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the jobs' ends are read from files
    for line in sys.stdin:
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _run(json.loads(line))


if __name__ == "__main__":
    main()
