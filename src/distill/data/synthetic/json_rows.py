"""Rows of a part of the embedded corpus as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write(splits: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path, name: str) -> list[Path]:
    """Write `<folder>/<name>/<split>.jsonl` (UTF-8, a row a line) and return the paths.

    Args:
        splits: rows by split.
        name: name of the part, `entities` say.
    """
    (folder / name).mkdir(parents=True, exist_ok=True)
    paths = []
    for split, rows in splits.items():
        path = folder / name / f"{split}.jsonl"
        path.write_bytes("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
        paths.append(path)
    return paths
