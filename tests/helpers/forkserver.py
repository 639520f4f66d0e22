"""The fork server of the tests: multiprocessing's, with all that stages import imported once.

It is a fresh program, so its processes have none of pytest's threads. The workers of pytest-xdist share one, which the
process that starts them has started: it imports for a quarter of a minute.
"""

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from multiprocessing import connection, forkserver
from multiprocessing.process import BaseProcess
from unittest import mock

from tests.helpers import micro, pictures

PROJECT = (str(micro.ROOT), str(micro.ROOT / "src"))  # entries of the import path
_PRELOADED = "tests.helpers.preloaded"
_SHARED = "TESTS_FORK_SERVER"  # in the environment: address of the server that the workers share
_CONTEXT = multiprocessing.get_context("forkserver")
# Starting or joining a process polls all others, which multiprocessing allows only one thread to do.
_lock = threading.Lock()


def launch() -> None:
    """Start the server, where there is none; it imports in the background, and the first process waits for it."""
    if address := os.environ.get(_SHARED):
        return _use(address)
    _CONTEXT.set_forkserver_preload(["__main__", _PRELOADED])
    # Libraries read the environment when they are imported.
    environment = micro.environment(PYTHONPATH=os.pathsep.join(PROJECT), TORCH_CPP_LOG_LEVEL="ERROR")
    with _lock, mock.patch.dict(os.environ, environment, clear=True):
        forkserver.ensure_running()


def share() -> None:
    """Start a server for this process's children, as long as this process lives."""
    if hasattr(forkserver._forkserver, "_forkserver_authkey"):
        return  # Python 3.14's server answers no other process than the one that has started it
    launch()
    os.environ[_SHARED] = forkserver._forkserver._forkserver_address


def _use(address: str) -> None:
    """Start processes by another process's server: multiprocessing can, but has no public way to say so."""
    client = forkserver._forkserver
    if client._forkserver_address != address:
        client._forkserver_address = address
        client._forkserver_alive_fd = os.open(os.devnull, os.O_WRONLY)  # the server watches its starter's
        client.ensure_running = lambda: None


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
