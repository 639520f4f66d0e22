"""The commit of the running code."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def commit(root: Path = Path(".")) -> str | None:
    """The commit of the code in `root`: 40 hex digits; None without Git, a repository or a commit.

    A queued DVC experiment starts from a baseline that HEAD may have left.
    """
    if baseline := os.environ.get("DVC_EXP_BASELINE_REV"):
        return baseline
    try:
        command = ["git", "-C", str(root), "rev-parse", "--verify", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True, encoding="utf-8")
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
