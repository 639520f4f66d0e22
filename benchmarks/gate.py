"""Stops a training between two updates and times the updates in between: the measured side of `benchmarks.rounds`.

Every system under test runs in a process of its own and waits at its gate. Whoever measures opens one gate at a time,
for a number of updates, and gets one line back for them. So systems take turns every few updates, none computes while
another is timed, and start-up and warm-up count for none.

Needs nothing but the standard library and torch, as it runs in the peers' environment too.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import torch


class Gate:
    """The gate of this process.

    Args:
        commands: file descriptor to read from, one JSON line per opening: {"updates": n}; its end ends the process.
        answers: file descriptor to write to, one JSON line per n updates: `seconds` (wall), `cpu_seconds` (of all
            threads), `updates`, `rows`, `real_tokens`, `padded_tokens` (both together are what was computed on),
            `squares` (Σ real tokens of a row, squared), `anonymous_bytes` and `peak_bytes` (see `memory`).
    """

    def __init__(self, commands: int, answers: int):
        self._commands, self._answers = os.fdopen(commands, encoding="utf-8"), os.fdopen(answers, "w", encoding="utf-8")
        self._left = 0
        self._counts: dict[str, int] = {}

    @classmethod
    def from_environment(cls) -> Gate:
        """The gate whose file descriptors the parent process passed in BENCH_GATE, as `commands,answers`."""
        commands, answers = os.environ["BENCH_GATE"].split(",")
        return cls(int(commands), int(answers))

    def begin(self) -> None:
        """Say that the process is ready, wait for the first opening, start the clock."""
        self._answer({"ready": True})
        self._wait()

    def count(self, attention_mask: torch.Tensor) -> None:
        """Count the rows and tokens of a batch, (B, L), that an update has been or is being made with."""
        lengths = attention_mask.sum(1)
        real = int(lengths.sum())
        self._counts["rows"] += len(attention_mask)
        self._counts["real_tokens"] += real
        self._counts["padded_tokens"] += attention_mask.numel() - real
        self._counts["squares"] += int((lengths**2).sum())

    def updated(self) -> None:
        """An update is done; after the last of an opening: answer, and wait for the next opening."""
        self._left -= 1
        if self._left:
            return
        _finish_device()
        seconds, cpu = time.perf_counter() - self._began, time.process_time() - self._cpu
        measured = {"seconds": seconds, "cpu_seconds": cpu, "updates": self._updates}
        self._answer(measured | self._counts | memory())
        self._wait()

    def _wait(self) -> None:
        line = self._commands.readline()
        if not line:
            os._exit(0)  # in the middle of a training: nothing of it is wanted
        self._left = self._updates = json.loads(line)["updates"]
        self._counts = {"rows": 0, "real_tokens": 0, "padded_tokens": 0, "squares": 0}
        _finish_device()
        self._began, self._cpu = time.perf_counter(), time.process_time()

    def _answer(self, content: dict[str, Any]) -> None:
        self._answers.write(json.dumps(content) + "\n")
        self._answers.flush()


class GatedLoader:
    """A data loader that stops at the gate: for training loops that cannot be hooked into otherwise.

    A loop asks for its next batch when the update with the last one is done, so that an update is timed from one
    request to the next: everything that the loop does is in it. Starts anew when it is at its end.

    Args:
        loader: gives batches as dicts.
        mask: batch → attention mask, (B, L).
    """

    def __init__(self, loader: Any, gate: Gate, mask: Any):
        self.loader, self.gate, self.mask = loader, gate, mask

    def __len__(self) -> int:
        return 1_000_000  # more than anybody measures

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __iter__(self) -> Iterator[Any]:
        self.gate.begin()
        while True:
            for batch in self.loader:
                self.gate.count(self.mask(batch))
                yield batch
                self.gate.updated()


def gate_trainer(gate: Gate) -> None:
    """Make every `transformers.Trainer` of this process stop at the gate after each of its updates."""
    from transformers import Trainer, TrainerCallback

    class AtGate(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            gate.begin()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            gate.updated()

    start, step = Trainer.__init__, Trainer.training_step

    def __init__(self, *words: Any, **options: Any) -> None:
        start(self, *words, **options)
        self.add_callback(AtGate())

    def training_step(self, model: Any, inputs: Any, *words: Any, **options: Any) -> torch.Tensor:
        gate.count(inputs["attention_mask"])
        return step(self, model, inputs, *words, **options)

    Trainer.__init__, Trainer.training_step = __init__, training_step


def memory() -> dict[str, int]:
    """Memory of this process in bytes.

    `anonymous_bytes`: what it holds now that is no file (no program, no memory-mapped data, which the system can take
    back). `peak_bytes`: the most that it has held so far, files included; on a GPU the most that torch had allocated.
    """
    fields: dict[str, int] = {}
    with open("/proc/self/status", encoding="utf-8") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name in ("RssAnon", "VmHWM"):
                fields[name] = int(value.split()[0]) * 1024
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else fields["VmHWM"]
    return {"anonymous_bytes": fields["RssAnon"], "peak_bytes": peak}


def _finish_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
