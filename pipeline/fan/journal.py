"""What a coordinator has submitted: one that is started again finds the jobs that run, and does not run them twice."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import BaseModel

from pipeline.fan.jobs import Job

_NAME = "running.json"


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


class _Content(BaseModel):
    backend: str
    running: list[Running]


class Journal:
    """A file with the running jobs, as a whole one at any time.

    Args:
        folder: the fan-out's, in which it is a file.
        backend: name of the engine; handles of another one are of no use.
    """

    def __init__(self, folder: Path, backend: str):
        self.folder, self.backend = folder, backend
        self._file = folder / _NAME

    @classmethod
    def recorded(cls, folder: Path) -> list[Journal]:
        """Those of all fan-outs that have jobs on record.

        Args:
            folder: parent of a folder for each fan-out.
        """
        found = {file.parent: _content(file) for file in sorted(folder.glob(f"*/{_NAME}"))}
        return [cls(place, content.backend) for place, content in found.items() if content and content.running]

    def read(self) -> list[Running]:
        """The jobs; none where the file is missing, of another engine, or damaged."""
        content = _content(self._file)
        return content.running if content and content.backend == self.backend else []

    def write(self, running: Iterable[Running]) -> None:
        """Replaces what is there."""
        content = {"backend": self.backend, "running": [asdict(item) for item in running]}
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(content), encoding="utf-8")
        os.replace(new, self._file)


def _content(file: Path) -> _Content | None:
    """What a journal's file says; None: it is missing or damaged."""
    try:
        return _Content.model_validate_json(file.read_bytes())
    except (OSError, ValueError):
        return None
