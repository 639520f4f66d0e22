"""Git, where its failure is no error."""

from __future__ import annotations

import subprocess
from pathlib import Path


def output(*words: str, folder: Path = Path()) -> str:
    """What a Git command prints; empty where it fails: no Git, no repository, no commit, no such file."""
    command = ["git", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=60, encoding="utf-8")
    except (OSError, ValueError, subprocess.SubprocessError):  # ValueError: what it prints is not UTF-8
        return ""
    return done.stdout
