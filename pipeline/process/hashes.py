"""Hashes by which DVC knows files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def dvc_md5(path: Path) -> str:
    """The md5 by which DVC knows a file or folder: as in dvc.lock, and in the cache's file names."""
    if path.is_file():
        with path.open("rb") as file:  # in parts: tracking hashes data sets while a stage is at work
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    entries: list[dict[str, Any]] = [
        {"md5": dvc_md5(file), "relpath": file.relative_to(path).as_posix()}
        for file in path.rglob("*")
        if file.is_file()
    ]
    return listing_md5(entries)


def listing_md5(entries: Sequence[Mapping[str, Any]]) -> str:
    """The md5 of a folder from its listing: `md5` and `relpath` of each file."""
    listing = json.dumps(sorted(entries, key=lambda entry: entry["relpath"]), sort_keys=True)
    return hashlib.md5(listing.encode(), usedforsecurity=False).hexdigest() + ".dir"
