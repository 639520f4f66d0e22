"""The fork server of a test process: multiprocessing's, with all that stages import imported once.

It is a fresh program, so its processes have none of pytest's threads, and each worker of pytest-xdist has its own.
"""

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from multiprocessing import connection
from multiprocessing.forkserver import ensure_running
from multiprocessing.process import BaseProcess
from unittest import mock

from tests.helpers import micro, pictures

PROJECT = (str(micro.ROOT), str(micro.ROOT / "src"))  # entries of the import path
_PRELOADED = "tests.helpers.preloaded"
_CONTEXT = multiprocessing.get_context("forkserver")
# Starting or joining a process polls all others, which multiprocessing allows only one thread to do.
_lock = threading.Lock()


def launch() -> None:
    """Start the server, where there is none; it imports in the background, and the first process waits for it."""
    _CONTEXT.set_forkserver_preload(["__main__", _PRELOADED])
    # Libraries read the environment when they are imported.
    environment = micro.environment(PYTHONPATH=os.pathsep.join(PROJECT), TORCH_CPP_LOG_LEVEL="ERROR")
    with _lock, mock.patch.dict(os.environ, environment, clear=True):
        ensure_running()


def start(target: Callable[..., None], *values: object) -> BaseProcess:
    """Start a process that calls a function of a module; the values can be pickled, open connections among them."""
    process = _CONTEXT.Process(target=target, args=values)
    with _lock:
        process.start()
    return process


def has_ended(process: BaseProcess, seconds: float | None = None) -> bool:
    """Whether a process ends within some seconds; None: wait for it."""
    return bool(connection.wait([process.sentinel], seconds))


def wait(process: BaseProcess) -> int:
    """Wait for a process's end; its exit code, negative where a signal ended it."""
    has_ended(process)
    with _lock:
        process.join()
    return process.exitcode


def kill_all() -> None:
    """`kill -9` what still runs: pytest would wait for it when it ends."""
    with _lock:
        for process in multiprocessing.active_children():
            process.kill()


def enter(folder: str, environment: dict[str, str], words: list[str]) -> None:
    """Make the process that `start` started look as if it had been started in a folder with these words."""
    assert _PRELOADED in sys.modules, "the fork server could not import it, about which multiprocessing says nothing"
    multiprocessing.set_start_method(None, force=True)  # back to the default, for processes of the stage's own
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = words
    pictures.leave_undrawn(environment)
