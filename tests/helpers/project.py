"""A micro project that DVC has run once, with tracking on, and experiments on it in each of DVC's modes."""

import functools
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, CompletedProcess
from typing import Any

import yaml

from distill.experiments import params_file
from tests.helpers import micro

# One method that needs only logits and one that needs filters; nothing here asks for the width of an interval.
SETTINGS = {"methods": ["kd", "ted"], "compare.resamples": 100}
OFF = {"DISTILL_TRACKING": "off"}


@dataclass
class Ran:
    """What a run of the pipeline did.

    Attributes:
        stages: names of the stages that were executed, in this order.
        revision: Git revision that holds its parameters, dvc.lock and metrics.
        experiment: DVC's name of it; None for `dvc repro`.
        output: what DVC printed.
        undone: what DVC printed when the changed value was set back.
    """

    stages: list[str]
    revision: str
    experiment: str | None
    output: str
    undone: str = ""


class Project:
    """A Git and DVC repository; commands in it run with MLflow tracking.

    Attributes:
        repo: its root.
        first: its first `dvc repro`, committed: the baseline of all experiments.
    """

    def __init__(self, folder: Path, python: Path):
        self.env = micro.with_programs(python) | {"DISTILL_TRACKING": "on"}
        self.repo = micro.repo(folder / "repo", micro.DEBERTA | SETTINGS)
        self.dvc("remote", "add", "-d", "store", str(folder / "store"))
        output = self.dvc("repro").stdout
        self.git("add", "-A")
        self.git("commit", "-qm", "results")
        self.first = Ran(executed(output), self.git("rev-parse", "HEAD").strip(), None, output)

    def run(self, *words: str, env: dict[str, str] | None = None, check: bool = True) -> CompletedProcess[str]:
        """Run a command at the root."""
        return micro.run(self.repo, *words, env=self.env | (env or {}), check=check)

    def dvc(self, *words: str, **options) -> CompletedProcess[str]:
        """Run DVC."""
        return self.run("dvc", *words, **options)

    def git(self, *words: str) -> str:
        """Run Git; what it printed."""
        return self.run("git", *words).stdout

    def restore(self) -> None:
        """Go back to the baseline."""
        self.git("checkout", "-q", "-f", ".")
        self.dvc("checkout", "-q", "-f")

    def edited(self, changes: dict[str, Any]) -> list[str]:
        """The stages that `dvc repro` runs, without tracking, when params.yaml is edited; then back to the baseline."""
        file = self.repo / "params.yaml"
        values = {tuple(name.split(".")): value for name, value in changes.items()}
        file.write_text(params_file.replace(file.read_text(), values))
        stages = executed(self.dvc("repro", env=OFF).stdout)
        self.restore()
        return stages

    def workspace(self, name: str, *settings: str, env: dict[str, str] | None = None) -> Ran:
        """`dvc exp run` in place; its results stay until `restore`."""
        output = self.dvc("exp", "run", "--name", name, *_pairs(settings), env=env).stdout
        return self._ran(name, output)

    def temp(self, name: str, *settings: str) -> Ran:
        """`dvc exp run --temp`."""
        return self._ran(name, self.dvc("exp", "run", "--temp", "--name", name, *_pairs(settings)).stdout)

    def queue(self, name: str, *settings: str) -> Ran:
        """`dvc exp run --queue`, `dvc queue start`, and wait for its end."""
        self.dvc("exp", "run", "--queue", "--name", name, *_pairs(settings))
        # Its worker inherits the output, and whoever captures that waits for the worker, long after the last stage.
        words = ("dvc", "queue", "start")
        environment = micro.environment(**self.env)
        subprocess.run(words, cwd=self.repo, env=environment, check=True, stdout=DEVNULL, stderr=DEVNULL)
        # Asking DVC costs a third of a second: it is asked every ten seconds, or when Git has the experiment.
        asked = 0.0
        status = f"{name} Queued"
        while re.search(rf"\b{name}\b.*\b(Queued|Running)\b", status):
            if self._revision(name) or time.monotonic() - asked > 10:
                status, asked = self.dvc("queue", "status").stdout, time.monotonic()
            time.sleep(0.3)
        output = self.dvc("queue", "logs", name).stdout
        assert re.search(rf"\b{name}\b.*\bSuccess\b", status), f"{status}\n{output}"
        return self._ran(name, output)

    def _ran(self, name: str, output: str) -> Ran:
        revision = self._revision(name)
        assert revision, f"DVC made no experiment {name}:\n{output}"
        return Ran(executed(output), revision, name, output)

    def _revision(self, name: str) -> str | None:
        refs = self.git("for-each-ref", "--format=%(refname)", "refs/exps").split()
        return next((ref for ref in refs if ref.endswith(f"/{name}")), None)

    def show(self, ran: Ran, path: str) -> str:
        """A file of Git's as a run left it."""
        return self.git("show", f"{ran.revision}:{path}")

    def lock(self, ran: Ran) -> dict[str, Any]:
        """The entries of dvc.lock by stage, as a run left them."""
        return _stages(self.show(ran, "dvc.lock"))

    def md5(self, ran: Ran, stage: str, path: str) -> str:
        """The md5 in dvc.lock of an output or input of a stage, as a run left it."""
        entry = self.lock(ran)[stage]
        return next(item["md5"] for item in entry["outs"] + entry["deps"] if item["path"] == path)


def executed(output: str) -> list[str]:
    """The stages that DVC says it has run: none that it skipped or restored, nor `inputs`, which runs every time."""
    names = re.findall(r"^Running stage '(.+)':$", output, flags=re.MULTILINE)
    assert names.count("inputs") == 1
    return [name for name in names if name != "inputs"]


@functools.lru_cache(maxsize=8)  # a tenth of a second for each text, which tests ask for many times
def _stages(lock: str) -> dict[str, Any]:
    return yaml.safe_load(lock)["stages"]


def _pairs(settings: tuple[str, ...]) -> list[str]:
    return [word for setting in settings for word in ("-S", setting)]
