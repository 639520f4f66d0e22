"""A stage's working folder, named by a hash of all that its result depends on: an interrupted stage finds it again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.process.locks import remove_unheld
from pipeline.process.records import LIBRARIES, file_name, versions
from pipeline.stage.definition import Definition

FOLDER = ".scratch"


def fingerprint(definition: Definition, values: Mapping[str, Any], contents: Mapping[Path, str]) -> str:
    """Hashes all that a stage's result depends on: 16 hex digits.

    That is what its entry in dvc.yaml declares (its name, its parameters, the content of the code and the data that it
    depends on) and the versions of `LIBRARIES`.

    Args:
        definition: The stage.
        values: Its declared parameters, any JSON content.
        contents: Hash of each dependency (`pipeline.stage.snapshot`).
    """
    total = hashlib.blake2b(digest_size=8)
    libraries = {name: version for name, version in versions().items() if name in LIBRARIES}
    total.update(json.dumps([definition.name, values, libraries], sort_keys=True, default=str).encode())
    for path in definition.deps:
        total.update(f"\0{path.as_posix()}\0{contents[path]}".encode())
    return total.hexdigest()


def remove_leftovers(folder: Path, name: str) -> None:
    """Removes unlocked leftovers of interrupted runs: this stage's scratch folders, and locks without a scratch."""
    pattern = re.compile(re.escape(file_name(name)) + r"-[0-9a-f]{16}")
    for scratch in [path for path in folder.glob("*") if pattern.fullmatch(path.name)]:
        remove_unheld(lock_of(scratch), contents=scratch)
    for lock in folder.glob("*.lock"):
        if not (folder / lock.stem).is_dir():
            remove_unheld(lock)


def lock_of(scratch: Path) -> Path:
    """The lock file of a scratch folder."""
    return scratch.with_name(f"{scratch.name}.lock")


def remove_empty(folder: Path) -> None:
    """Removes a folder that has nothing in it."""
    with contextlib.suppress(OSError):  # another stage uses it, or has just removed it
        folder.rmdir()
