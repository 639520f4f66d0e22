"""A full disk, as several libraries report it."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from pipeline.process.lines import shown_path


def disk_full(error: BaseException | None, where: Path) -> str | None:
    """The message and fix for an exception that a full disk caused; None for any other.

    safetensors reports a full disk in the words of its own exception, torch.save only as a position that it did not
    expect (measured with torch 2.13): the latter counts only where the disk is full.

    Args:
        error: The exception; its causes are looked at too.
        where: A folder that the stage writes to, named where the exception names no file.
    """
    while error is not None:
        text = str(error)
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        full = full or "No space left on device" in text
        if "inline_container.cc" in text or "PytorchStreamWriter" in text:
            full = full or shutil.disk_usage(where).free < 64 * 1024**2
        if full:
            named = getattr(error, "filename", None) or where
            return (
                f"disk full: no space left to write {shown_path(named)}; what was there before is untouched. "
                "Free some space on that disk and run the same command to go on"
            )
        error = error.__cause__ or error.__context__
    return None
