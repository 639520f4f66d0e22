"""What a stage's result hangs on, as it was when the stage began.

DVC hashes a stage's dependencies when its command has ended. Whatever is edited in between would be recorded as if the
result were made from it, in dvc.lock and in the run cache. So the stage remembers what it began with, and compares.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from distill.runtime.files import files_below, tree_hash

#: Snapshots of `begin` that no stage has taken yet, by folder and dependencies.
_BEGUN: dict[tuple[Path, tuple[Path, ...]], Snapshot] = {}


class Snapshot:
    """Content of files and folders at one moment.

    Attributes:
        contents: Path → hash of its content (`distill.runtime.files.tree_hash`); missing ones are left out.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        # First the times, then the content: an edit in between is noticed.
        self._stamps = {path: _stamps(path) for path in paths if path.exists()}
        self.contents = {path: tree_hash(path) for path in self._stamps}

    def changed(self) -> list[Path]:
        """Paths that have another content now, or are gone. Reads only what has another time, size or place on disk."""
        return [path for path, stamps in self._stamps.items() if _stamps(path) != stamps and self._differs(path)]

    def _differs(self, path: Path) -> bool:
        try:
            return tree_hash(path) != self.contents[path]
        except FileNotFoundError:
            return True


def begin(paths: tuple[Path, ...]) -> None:
    """Takes the snapshot of a stage before its code is imported; `of` hands it to the stage."""
    _BEGUN[Path.cwd(), paths] = Snapshot(paths)


def of(paths: tuple[Path, ...]) -> Snapshot:
    """The snapshot that `begin` has taken of these paths, once; otherwise a new one."""
    return _BEGUN.pop((Path.cwd(), paths), None) or Snapshot(paths)


def _stamps(path: Path) -> list[tuple[str, int, int, int]]:
    """Name, size, time of change and inode of every file."""
    stamps = []
    for name, file in files_below(path) if path.is_dir() else [("", path)]:
        try:
            status = os.stat(file)
        except FileNotFoundError:
            continue  # gone since the folder was listed, or with all of it
        stamps.append((name, status.st_size, status.st_mtime_ns, status.st_ino))
    return stamps
