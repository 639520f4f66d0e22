"""What a coordinator has submitted: one that is started again finds the jobs that run, and does not run them twice."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.fan.jobs import Job


@dataclass(frozen=True)
class Running:
    """A job that was submitted and has not been seen to end.

    Attributes:
        job: the job.
        handle: what the backend calls it.
        slot: the slot that it takes.
        begun: Unix time of its submission, in seconds.
    """

    job: Job
    handle: str
    slot: int
    begun: float


class Journal:
    """A file with the running jobs, as a whole one at any time.

    Args:
        file: its path.
        backend: name of the engine; handles of another one are of no use.
    """

    def __init__(self, file: Path, backend: str):
        self._file, self._backend = file, backend

    def read(self) -> list[Running]:
        """The jobs; none where the file is missing, of another engine, or damaged."""
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        if content["backend"] != self._backend:
            return []
        return [
            Running(Job(kind, tuple(map(tuple, units))), handle, slot, begun)
            for (kind, units), handle, slot, begun in (
                ((entry["job"]["kind"], entry["job"]["units"]), entry["handle"], entry["slot"], entry["begun"])
                for entry in content["running"]
            )
        ]

    def write(self, running: Iterable[Running]) -> None:
        """Replaces what is there."""
        content: Mapping[str, object] = {"backend": self._backend, "running": [asdict(item) for item in running]}
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(content), encoding="utf-8")
        os.replace(new, self._file)
