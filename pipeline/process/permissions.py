"""A file or folder that this user may not read or write, as several libraries report it."""

from __future__ import annotations

import errno
import os
import re

from pipeline.process.lines import shown_path

_RIGHTS = "give this user the right to read and write it (chown, chmod)"
_FIXES = {
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: "its file system is read-only: mount it for writing",
    errno.ENOTDIR: "a file stands where a folder is needed: move it away",
}
# safetensors and tokenizers put the system's error into the text of an exception of their own.
_IN_TEXT = re.compile(r"\(os error (\d+)\)")


def not_allowed(error: BaseException | None) -> str | None:
    """The message and fix for an exception of the file system's rights; None for any other.

    Args:
        error: The exception; what it was raised from is looked at too, but not what was handled before it.
    """
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        if number is None and (match := _IN_TEXT.search(str(error))):
            number = int(match[1])
        if number == errno.EEXIST and os.path.isfile(getattr(error, "filename", None) or ""):
            number = errno.ENOTDIR  # what mkdir says of a file
        if number in _FIXES:
            names = [getattr(error, "filename", None), getattr(error, "filename2", None)]
            places = " and ".join(shown_path(name) for name in names if isinstance(name, str)) or "a file of this stage"
            return f"{places}: {os.strerror(number).lower()}: {_FIXES[number]}, and run the same command again"
        error = error.__cause__
    return None
