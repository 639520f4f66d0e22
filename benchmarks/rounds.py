"""Systems under test as processes that take turns: the measuring side of `benchmarks.gate`."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class System:
    """What is started and how long it runs at a time.

    Attributes:
        name: of the row in the table.
        command: the process; it opens a gate (`benchmarks.gate`).
        updates: per round.
        warm_up: updates before the first round, which are not counted.
        in_step: makes its updates with the same batches in the same order as others do.
    """

    name: str
    command: list[str]
    updates: int
    warm_up: int
    in_step: bool = False


class Process:
    """A running system, waiting at its gate; use it in a `with` statement.

    Raises:
        RuntimeError: it ended; with the last lines that it printed.
    """

    def __init__(self, system: System):
        self.system = system

    def __enter__(self) -> Process:
        command_read, command_write = os.pipe()
        answer_read, answer_write = os.pipe()
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            self.system.command,
            cwd=ROOT,
            env=environment() | {"BENCH_GATE": f"{command_read},{answer_write}"},
            pass_fds=(command_read, answer_write),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        os.close(command_read)
        os.close(answer_write)
        self._commands, self._answers = (
            os.fdopen(command_write, "w", encoding="utf-8"),
            os.fdopen(answer_read, encoding="utf-8"),
        )
        self._read()  # ready
        return self

    def __exit__(self, *error: object) -> None:
        for pipe in (self._commands, self._answers):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()  # the process ends at its gate
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def run(self, updates: int) -> dict[str, Any]:
        """Let it make so many updates; what its gate says of them."""
        self._commands.write(json.dumps({"updates": updates}) + "\n")
        self._commands.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            self._process.wait()
            self._log.seek(0)
            # A progress bar writes over its line.
            lines = [line.split("\r")[-1].rstrip()[:300] for line in self._log.read().split("\n")]
            tail = "\n".join([line for line in lines if line][-12:])
            raise RuntimeError(f"{self.system.name} ended with {self._process.returncode}:\n{tail}")
        return json.loads(line)


def measure(systems: list[System], rounds: int, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    """Start all systems, warm each up, then let each run in every round, in an order drawn anew for each.

    Systems that memory has no room for, the last of the list, are started and warmed up anew in every round.

    Returns:
        By the system's name the answers of its gate, one per round. A system that cannot be started or fails is left
        out, and what it printed is shown: the others go on.
    """
    kept: dict[str, Process] = {}
    measured: dict[str, list[dict[str, Any]]] = {system.name: [] for system in systems}
    draw = random.Random(seed)
    with contextlib.ExitStack() as stack:
        room = True
        for system in systems:
            if room := room and _room():
                with _leaving_out(system, measured):
                    kept[system.name] = stack.enter_context(Process(system))
                    kept[system.name].run(system.warm_up)
                    print(f"  started {system.name}", flush=True)
            else:
                print(f"  {system.name}: no memory left beside the others, is started in every round", flush=True)
        for number in range(rounds):
            turn = list(systems)
            draw.shuffle(turn)
            for system in [system for system in turn if system.name in measured]:
                with _leaving_out(system, measured):
                    if system.name in kept:
                        answer = kept[system.name].run(system.updates)
                    else:
                        before = system.warm_up + (number * system.updates if system.in_step else 0)
                        with Process(system) as process:
                            process.run(before)
                            answer = process.run(system.updates)
                    measured[system.name].append(answer)
            print(f"  round {number + 1} of {rounds} done", flush=True)
    return measured


@contextlib.contextmanager
def _leaving_out(system: System, measured: dict[str, list[dict[str, Any]]]) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, BrokenPipeError) as error:
        print(f"  {system.name} is left out: {error}", flush=True)
        measured.pop(system.name, None)


def _room() -> bool:
    """Whether another process may be kept: a quarter of the memory stays free for the one that computes."""
    memory = psutil.virtual_memory()
    return memory.available > memory.total / 4


def environment() -> dict[str, str]:
    """That of this process, with this checkout's code first, no tracking, no network and no outer DVC."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_"))}
    return outer | {
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "src"))),
        "DISTILL_TRACKING": "off",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
