"""What `make repro` does before `dvc repro`: mends what a killed DVC left. `python -m pipeline.process.mend`"""

from __future__ import annotations

import json
import os
from pathlib import Path

import yaml
from filelock import FileLock

from pipeline.process.locks import acquire


def mend_dvc(root: Path) -> None:
    """Moves aside what a killed DVC left half-written and would itself refuse to read: dvc.lock, .dvc/tmp/rwlock.

    DVC 3.67 truncates both files before it writes them. Killed in between, every later `dvc repro` fails ("JSON
    structure is corrupted", "validation failed"). Both can go: `rwlock` says who is running, and DVC fills dvc.lock
    again from its run cache. What is moved is kept in .dvc/tmp. Does nothing while a DVC is writing, nor to a
    dvc.lock with conflicts that the user has to resolve.

    Args:
        root: The DVC repository.
    """
    folder = root / ".dvc" / "tmp"
    for file, guard, whole in (
        (folder / "rwlock", folder / "rwlock.lock", _is_rwlock),
        (root / "dvc.lock", folder / "lock", _is_dvc_lock),
    ):
        if not folder.is_dir() or not file.is_file() or whole(file.read_text(encoding="utf-8", errors="replace")):
            continue
        lock = FileLock(guard)  # DVC locks the same file in the same way (flock) while it writes
        if not acquire(lock, guard, 5.0):
            continue
        try:
            if file.is_file() and not whole(file.read_text(encoding="utf-8", errors="replace")):
                os.replace(file, folder / f"{file.name}.torn")
                print(f"{file.relative_to(root)} was cut off when dvc was killed: moved to .dvc/tmp/{file.name}.torn")
        finally:
            lock.release()


def _is_rwlock(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _is_dvc_lock(text: str) -> bool:
    if "<<<<<<<" in text:
        return True  # not torn, but in need of its user
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    stages = content.get("stages") if isinstance(content, dict) and "schema" in content else None
    return isinstance(stages, dict) and not any(map(_is_cut, stages.values()))


def _is_cut(stage: object) -> bool:
    """Whether a stage's entry ends too early, as after `size:`. Single params may be null for good reasons."""
    if not isinstance(stage, dict) or not stage.get("cmd"):
        return True
    params = stage.get("params", {})
    if not isinstance(params, dict) or not all(isinstance(values, dict) for values in params.values()):
        return True
    entries = [entry for kind in ("deps", "outs") if kind in stage for entry in (stage[kind] or [None])]
    if any(not isinstance(entry, dict) or len(entry) < 2 or None in entry.values() for entry in entries):
        return True
    return any("md5" in entry and len(str(entry["md5"])) < 32 for entry in entries)


if __name__ == "__main__":
    mend_dvc(Path.cwd())
