"""Locks that name their holder. The kernel frees them however a process ends."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from distill.errors import UserError


@contextlib.contextmanager
def exclusive(path: Path, stage: str, wait_seconds: float | None = 60.0) -> Iterator[None]:
    """Holds a lock file, and says in `<path>.holder` who holds it.

    The kernel frees the lock however the process ends. Both files are removed at the end, while the lock is still
    held: a process that waits on a removed file sees that it was removed, and takes the new one (filelock does).

    Args:
        path: The lock file; its folder is made.
        stage: Name of the holder in the messages of waiting processes.
        wait_seconds: How long to wait for another holder; None waits for as long as it lives, 0 does not wait.

    Raises:
        UserError: The lock is still held by another process after `wait_seconds`.
    """
    lock = FileLock(path)
    if not acquire(lock, path, 0.0):
        if wait_seconds != 0:
            print(f"  waiting for {_holder(path)}", flush=True)
        if wait_seconds == 0 or not acquire(lock, path, -1.0 if wait_seconds is None else wait_seconds):
            raise UserError(
                f"{stage} is being run by {_holder(path)}: wait for its end, or stop it with kill, "
                "and run the same command again"
            )
    holder = {"pid": os.getpid(), "stage": stage, "folder": os.getcwd()}
    side = holder_file(path)
    try:
        side.write_text(json.dumps(holder), encoding="utf-8")
        yield
    finally:
        side.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        lock.release()


def remove_unheld(path: Path, contents: Path | None = None) -> None:
    """Removes a lock file that nobody holds, its holder's note, and the folder that it guards."""
    lock = FileLock(path)
    if not acquire(lock, path, 0.0):
        return
    try:
        if contents is not None:
            _remove_folder(contents)
        holder_file(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    finally:
        lock.release()


def holder_file(path: Path) -> Path:
    """The note beside a lock file that says who holds it."""
    return path.with_name(f"{path.name}.holder")


def _remove_folder(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)


def acquire(lock: FileLock, path: Path, seconds: float) -> bool:
    """Whether the lock could be taken within so many seconds (-1: without end); makes its folder."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=seconds, poll_interval=0.1)
        except Timeout:
            return False
        except FileNotFoundError:
            continue  # the last holder has just removed the empty folder
        except FileExistsError:
            # The folder was there, and the last holder removed it before mkdir, here or in filelock, looked again.
            if path.parent.exists() and not path.parent.is_dir():
                raise  # a file in its place: no retry will change that
            continue
        return True


def _holder(path: Path) -> str:
    try:
        note = json.loads(holder_file(path).read_text(encoding="utf-8"))
        return f"process {note['pid']} ({note['stage']} in {note['folder']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"  # it has taken the lock and not yet written its note
