"""The command line of a running process."""

from __future__ import annotations

import time

import psutil

_TRIES, _PAUSE = 100, 0.001  # an exec takes less than a millisecond, on a busy machine some
_KERNEL = 2  # parent of Linux's own threads


def command_line(process: psutil.Process) -> list[str]:
    """The words that a process was started with; none for threads of the kernel.

    A process that was started this moment has no words yet, although `subprocess.Popen` has returned: the kernel closes
    the pipe by which Popen knows of the exec before it lays down the words. It is asked again for a tenth of a second.

    Raises:
        psutil.Error: the process has gone, is a zombie, or may not be looked at.
    """
    for _ in range(_TRIES):
        if words := process.cmdline():
            return words
        if _KERNEL in (process.pid, process.ppid()):
            break
        time.sleep(_PAUSE)
    return []
