"""A stage's process: how it begins and ends, also where its DVC has died.

`kill -9` or SIGTERM of `dvc` leaves the stage it started running, and the next `dvc repro` starts a second one on the
same files. So a stage under DVC watches the processes that started it, and every stage holds locks.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import psutil

from distill.errors import UserError
from distill.runtime import distributed
from pipeline.launch import launcher
from pipeline.process import command
from pipeline.process.disk import disk_full
from pipeline.process.dvc_process import is_dvc
from pipeline.process.permissions import not_allowed
from pipeline.stage import artifacts, paths, snapshot
from pipeline.stage.definition import define, plain

_SHELLS = {"ash", "bash", "busybox", "dash", "fish", "ksh", "sh", "zsh"}
_ADOPTERS = {"docker-init", "dumb-init", "init", "launchd", "systemd", "tini"}  # take over orphans
_STOPPED = 143  # what a shell reports for a process ended by SIGTERM


def run_stage(main: Callable[..., None], script: str | None = None, words: Sequence[str] | None = None) -> NoReturn:
    """Runs a stage's main function and ends the process with a code and, on failure, one clear line.

    Exit codes: 0 done, 1 the reader of the output has gone, 2 something the user can mend, 130 interrupted. Any other
    exception is a bug and keeps its traceback. A stage that makes an artifact which no listed method needs writes empty
    outputs instead of running.

    A training stage starts several processes itself where the machine's settings ask for it
    (`pipeline.launch.launcher`); each of them calls this function again.

    Args:
        main: The stage. Its parameters are positional and of type str.
        script: Name of its file in `pipeline/`; by default that of the running one.
        words: Arguments for `main`; by default those of the command line.
    """
    script = Path(sys.argv[0]).stem if script is None else script
    words = plain(sys.argv[1:] if words is None else words)
    try:
        watch_starter()
        if launcher.is_worker():
            _work(script)
        definition = define(script, *words)
        if artifact := artifacts.unneeded(definition):
            artifacts.leave_empty(definition, artifact)
        elif (how := launcher.wanted(script)) != 1:
            sys.exit(launcher.run(how, script, words))
        else:
            if distributed.is_first():
                snapshot.begin((paths.PARAMS,))
                snapshot.begin(definition.deps)
            main(*words)
    except UserError as error:
        if distributed.rank():
            distributed.give_way()  # to rank 0, which most often prints the same
        _end(f"error: {' '.join(str(error).split())}", 2)
    except KeyboardInterrupt:
        _end("" if launcher.is_worker() else "stopped; run the same command to go on", 130)
    except BrokenPipeError:  # `dvc repro | head` has seen enough
        distributed.give_way()
        command.stop_printing()
        _end("stopped: nobody reads what this prints any more; run the same command to go on", command.UNREAD)
    except Exception as error:
        distributed.give_way()
        if line := disk_full(error, Path.cwd()) or not_allowed(error):
            _end(f"error: {line}", 2)
        raise
    sys.exit(0)


def _work(script: str) -> None:
    """Begin as one of several processes; a stage that has no work to share is run by the first alone."""
    if launcher.shares(script):
        distributed.join()
    elif distributed.launched()[0]:
        sys.exit(0)
    else:
        distributed.forget()


def watch_starter(poll_seconds: float = 0.5) -> threading.Thread | None:
    """Ends this process and its children soon after the `dvc` that started it has gone, or the launcher.

    Does nothing outside DVC (no DVC_STAGE), so that `nohup python -m pipeline.distill ...` outlives its terminal. One
    of several processes never outlives its launcher.
    Looks at the processes themselves: PR_SET_PDEATHSIG would also fire when only the starting thread ends.

    Args:
        poll_seconds: Time between two looks.

    Returns:
        The watching thread (a daemon), or None where there is nothing to watch.
    """
    worker = launcher.is_worker()
    if not os.environ.get("DVC_STAGE") and not worker:
        return None
    starters = _starters()
    # The launcher may be the first process of its container.
    if _is_adopter(starters[-1]) and not (worker and starters[-1].pid == 1 and _name(starters[-1]) not in _ADOPTERS):
        _stop("the dvc that started this stage had gone before it began")
    watch = threading.Thread(target=_watch, args=(starters, poll_seconds), name="watch_starter", daemon=True)
    watch.start()
    return watch


def _starters() -> list[psutil.Process]:
    """The ancestors from the parent up to DVC; up to the first that is no shell where none of them is DVC."""
    parents = psutil.Process().parents()
    for test in (is_dvc, lambda process: _name(process) not in _SHELLS):
        for depth, process in enumerate(parents, start=1):
            if test(process):
                return parents[:depth]
    return parents


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return process.name().lstrip("-")
    return ""


def _is_adopter(process: psutil.Process) -> bool:
    if _name(process) in _ADOPTERS:
        return True
    # In a container the first process may be DVC, or a Python program that calls DVC's own interface.
    return process.pid == 1 and not is_dvc(process) and not _name(process).startswith("python")


def _alive(process: psutil.Process) -> bool:
    try:
        # is_running compares creation times, so a pid that the system has reused does not count.
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _watch(starters: list[psutil.Process], poll_seconds: float) -> None:
    while True:
        for starter in starters:
            if not _alive(starter):
                _stop(f"the process that started this stage (pid {starter.pid}) has gone")
        time.sleep(poll_seconds)


def _stop(reason: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # the terminal may have gone too
        print(f"stopped: {reason}; the same command goes on from here", file=sys.stderr, flush=True)
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()
    os._exit(_STOPPED)


def _end(line: str, code: int) -> NoReturn:
    if line:
        print(line, file=sys.stderr, flush=True)
    if launcher.is_worker():
        sys.stdout.flush()
        os._exit(code)  # the launcher must see at once which process failed: a regular exit of torch lasts seconds
    sys.exit(code)
