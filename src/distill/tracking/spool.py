"""What runs have logged and their store has not got: on disk, below `.scratch/tracking/` of the repository.

Each run has a folder there from its start until the store has all of it: `run.json` describes the run, `calls.jsonl`
has the calls that were not sent, `artifacts/` copies of the files that were not. The process that logs holds the
folder's lock, and the kernel frees that however the process ends: a folder without a holder is left to the next run
(`distill.tracking.late`). Addresses are kept without their secrets.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from distill.tracking.records import Champion, Details, RunSpec
from distill.tracking.redaction import shown

FOLDER = Path(".scratch/tracking")
REFUSED = ".refused"  # end of the name of a run that the store does not take
#: A day of points that no server takes; what comes after them is not kept.
MOST_BYTES = 200_000_000
_RUN, _CALLS, _LOCK, _ARTIFACTS = "run.json", "calls.jsonl", "lock", "artifacts"
_MADE_SECONDS = 60.0  # a folder without a description that is older was left by a kill


@dataclasses.dataclass(frozen=True)
class Description:
    """The content of run.json; `details` is None until they are read, `run_id` until MLflow has given one."""

    spec: RunSpec
    details: Details | None = None
    run_id: str | None = None


_DESCRIPTION = TypeAdapter(Description)


class Entry:
    """The folder of one run, whose lock this process holds.

    Attributes:
        description: the run, with the store's address as it was given.
    """

    def __init__(self, folder: Path, lock: FileLock, description: Description) -> None:
        self.folder = folder
        self.description = description
        self._lock = lock
        self._file: Any = None
        self._size = 0

    @property
    def name(self) -> str:
        """The run's name, that of its stage."""
        return self.description.spec.name

    def describe(self, **changes: Any) -> None:
        """Change the description (`spec`, `details`, `run_id`), also on disk."""
        self.description = dataclasses.replace(self.description, **changes)
        spec = self.description.spec
        kept = dataclasses.replace(self.description, spec=dataclasses.replace(spec, uri=shown(spec.uri)))
        draft = self.folder / f"{_RUN}.new"
        draft.write_bytes(_DESCRIPTION.dump_json(kept, fallback=str))
        draft.replace(self.folder / _RUN)

    def append(self, call: tuple) -> None:
        """Write down a call before it is sent; one thread at a time."""
        if self._file is None:
            # Unbuffered: what a killed process has logged is there.
            self._file = (self.folder / _CALLS).open("ab", buffering=0)
            self._size = self._file.tell()
        if call[0] == "end" or self._size < MOST_BYTES:
            line = json.dumps(call, default=_plain).encode() + b"\n"
            self._file.write(line)
            self._size += len(line)

    def clear(self) -> None:
        """Forget all calls: the store has them."""
        if self._file is not None:
            self._file.truncate(0)
            self._size = 0

    def calls(self) -> list[tuple]:
        """The calls on disk, in their order; a line that a kill has cut off is left out."""
        calls: list[tuple] = []
        with contextlib.suppress(FileNotFoundError), (self.folder / _CALLS).open(encoding="utf-8") as file:
            for line in file:
                with contextlib.suppress(ValueError, TypeError, IndexError):
                    calls.append(self._call(*json.loads(line)))
        return calls

    def end(self) -> str | None:
        """The status with which the run ended; None where its process was killed."""
        last = next(iter(self.calls()[-1:]), ("",))
        return last[1] if last[0] == "end" else None

    def _call(self, kind: str, *values: Any) -> tuple:
        if kind == "artifact":
            path = Path(values[0])
            copy = self._copy_of(path)
            return (kind, copy if copy.is_file() else path, values[1])
        return (kind, Champion(**values[0])) if kind == "champion" else (kind, *values)

    def keep(self, path: Path) -> None:
        """Copy an artifact: its file may be another one, or gone, when it is sent."""
        copy = self._copy_of(path)
        if path.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)

    def _copy_of(self, path: Path) -> Path:
        mark = hashlib.blake2b(str(path).encode(), digest_size=8).hexdigest()
        return self.folder / _ARTIFACTS / mark / path.name

    def refuse(self) -> Path:
        """Set the run aside for good, and return where it is now."""
        target = self.folder.with_name(self.folder.name + REFUSED)
        self.folder.rename(target)
        self.release()
        return target

    def remove(self) -> None:
        """Remove the folder: the store has everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.release()
        with contextlib.suppress(OSError):  # other runs wait
            self.folder.parent.rmdir()

    def release(self) -> None:
        """Leave the folder to others."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._lock.release()


def start(spec: RunSpec) -> tuple[Entry, list[tuple]]:
    """The folder of a run that begins, and the unsent calls of an interrupted run with the same state file, if any.

    Raises:
        OSError: the folder cannot be made or written.
    """
    place = spec.root / FOLDER
    for entry in unheld(place) if spec.state else ():
        earlier = entry.description.spec
        if earlier.state == spec.state and _same_store(entry, spec.uri) and entry.end() != "FINISHED":
            entry.describe(spec=dataclasses.replace(spec, key=earlier.key, started=earlier.started))
            earlier_calls = [call for call in entry.calls() if call[0] != "end"]
            entry.append(("resumed",))
            return entry, [*earlier_calls, ("resumed",)]
        entry.release()
    folder = place / f"{spec.started}-{spec.key}"
    folder.mkdir(parents=True)
    lock = FileLock(folder / _LOCK, thread_local=False)
    lock.acquire(timeout=0)
    entry = Entry(folder, lock, Description(spec))
    entry.describe()
    return entry, []


def waiting(root: Path, uri: str) -> Iterator[Entry]:
    """The runs that are to be sent to the store, oldest first, each locked: the caller removes or releases it.

    A run that has not ended waits for its stage, which may go on: as long as the folder of its state file is there.
    """
    for entry in unheld(root / FOLDER):
        state = entry.description.spec.state
        resumable = state is not None and state.parent.is_dir() and entry.end() is None
        if resumable or not _same_store(entry, uri):
            entry.release()
        else:
            entry.describe(spec=dataclasses.replace(entry.description.spec, uri=uri, root=root))
            yield entry


def unheld(place: Path) -> Iterator[Entry]:
    """The folders that no process holds, oldest first, each locked."""
    for folder in sorted(place.glob("*")):  # their names begin with the time
        if folder.name.endswith(REFUSED) or not folder.is_dir():
            continue
        lock = FileLock(folder / _LOCK, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except (Timeout, OSError):  # held, or removed just now
            continue
        try:
            description = _DESCRIPTION.validate_json((folder / _RUN).read_bytes())
        except (OSError, ValueError):
            with contextlib.suppress(OSError):
                if time.time() - folder.stat().st_mtime > _MADE_SECONDS:
                    shutil.rmtree(folder)
            lock.release()
            continue
        yield Entry(folder, lock, description)


def _same_store(entry: Entry, uri: str) -> bool:
    return shown(entry.description.spec.uri) == shown(uri)


def _plain(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else str(value)
