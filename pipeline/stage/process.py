"""A stage's process: how it ends, locks that name their holder, and an end for stages whose DVC has died.

`kill -9` or SIGTERM of `dvc` leaves the stage it started running, and the next `dvc repro` starts a second one on the
same files. So a stage under DVC watches the processes that started it, and every stage holds locks.
"""

import contextlib
import errno
import gc
import inspect
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import psutil
import yaml
from filelock import FileLock, Timeout

from distill.errors import UserError
from distill.runtime import distributed
from pipeline import COLLECT
from pipeline.stage import launch

_SHELLS = {"ash", "bash", "busybox", "dash", "fish", "ksh", "sh", "zsh"}
_ADOPTERS = {"docker-init", "dumb-init", "init", "launchd", "systemd", "tini"}  # take over orphans
_STOPPED = 143  # what a shell reports for a process ended by SIGTERM


def run_stage(main: Callable[..., None]) -> NoReturn:
    """Runs a stage's main function and ends the process with a code and, on failure, one clear line.

    Words of the command line become main's arguments where it has parameters. Exit codes: 0 done, 2 something the
    user can mend, 130 interrupted. Any other exception is a bug and keeps its traceback.

    A training stage starts its processes itself where the machine is set so (`pipeline.stage.launch`); each comes here
    again.

    Args:
        main: The stage. Its parameters are positional and of type str.
    """
    gc.freeze()  # what was imported is no garbage: Trainer's own calls of gc.collect need not look through it
    gc.set_threshold(*COLLECT)  # see pipeline/__init__.py
    script = Path(sys.argv[0]).stem
    try:
        watch_starter()
        if launch.is_worker():
            _work(script)
        signature = inspect.signature(main)
        words = sys.argv[1:] if signature.parameters else []
        try:
            signature.bind(*words)
        except TypeError:
            names = [f"<{name}>" for name in signature.parameters]
            raise UserError(f"usage: python {' '.join(launch.command(script, names))}") from None
        if (how := launch.wanted(script)) != 1:
            sys.exit(launch.run(how, script, words))
        main(*words)
    except UserError as error:
        if distributed.rank():
            distributed.give_way()  # to the first one, which most often says the same
        _end(f"error: {' '.join(str(error).split())}", 2)
    except KeyboardInterrupt:
        _end("" if launch.is_worker() else "stopped; run the same command to go on", 130)
    except Exception as error:
        distributed.give_way()
        if line := disk_full(error, Path.cwd()):
            _end(f"error: {line}", 2)
        raise
    sys.exit(0)


def _work(script: str) -> None:
    """Begin as one of several processes; a stage that has no work to share is done by the first of them."""
    if launch.shares(script):
        distributed.join()
    elif distributed.launched()[0]:
        sys.exit(0)
    else:
        distributed.forget()


def disk_full(error: BaseException | None, where: Path) -> str | None:
    """Says, for an exception that a full disk caused, what to do; None for any other.

    safetensors reports a full disk in the words of its own exception, torch.save only as a position that it did not
    expect (measured with torch 2.13): the latter counts where the disk is indeed full.

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
    worker = launch.is_worker()
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
    for test in (_is_dvc, lambda process: _name(process) not in _SHELLS):
        for depth, process in enumerate(parents, start=1):
            if test(process):
                return parents[:depth]
    return parents


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return process.name().lstrip("-")
    return ""


def _is_dvc(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        words = [os.path.basename(word) for word in process.cmdline()[:3]]
        return process.name() == "dvc" or "dvc" in words
    return False


def _is_adopter(process: psutil.Process) -> bool:
    if _name(process) in _ADOPTERS:
        return True
    # In a container the first process may be DVC, or a Python program that calls DVC's own interface.
    return process.pid == 1 and not _is_dvc(process) and not _name(process).startswith("python")


def _alive(process: psutil.Process) -> bool:
    try:
        # is_running compares creation times, so a pid that was given to somebody else does not count.
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


@contextlib.contextmanager
def exclusive(path: Path, stage: str, wait_seconds: float | None = 60.0) -> Iterator[None]:
    """Holds a lock file, and says in `<path>.holder` who holds it.

    The kernel frees the lock however the process ends. Both files are removed at the end, while the lock is still
    held: whoever waits on the removed file sees that it has no name any more and takes the new one (filelock does).

    Args:
        path: The lock file; its folder is made.
        stage: What the holder is called when others wait for it.
        wait_seconds: How long to wait for another holder; None waits for as long as it lives.

    Raises:
        UserError: The lock is still held by another process after `wait_seconds`.
    """
    lock = FileLock(path)
    if not _acquire(lock, path, 0.0):
        print(f"  waiting for {_holder(path)}", flush=True)
        if not _acquire(lock, path, -1.0 if wait_seconds is None else wait_seconds):
            raise UserError(
                f"{stage} is being run by {_holder(path)}: wait for its end, or stop it with kill, "
                "and run the same command again"
            )
    holder = {"pid": os.getpid(), "stage": stage, "folder": os.getcwd()}
    side = holder_file(path)
    try:
        side.write_text(json.dumps(holder), encoding="utf-8")
        yield
    finally:
        side.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        lock.release()


def remove_unheld(path: Path, contents: Path | None = None) -> None:
    """Removes a lock file that nobody holds, its holder's note, and the folder that it guards."""
    lock = FileLock(path)
    if not _acquire(lock, path, 0.0):
        return
    try:
        if contents is not None:
            _remove_folder(contents)
        holder_file(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    finally:
        lock.release()


def mend_dvc(root: Path) -> None:
    """Moves aside what a killed DVC left half-written and would itself refuse to read: dvc.lock, .dvc/tmp/rwlock.

    DVC 3.67 truncates both files before it writes them. Killed in between, every later `dvc repro` fails ("JSON
    structure is corrupted", "validation failed"). Both can go: `rwlock` says who is running, and DVC fills dvc.lock
    again from its run cache. What is moved is kept in .dvc/tmp. Does nothing while a DVC is writing, nor to a
    dvc.lock with conflicts that the user has to resolve.

    Args:
        root: The DVC repository.
    """
    folder = root / ".dvc" / "tmp"
    for file, guard, whole in (
        (folder / "rwlock", folder / "rwlock.lock", _is_rwlock),
        (root / "dvc.lock", folder / "lock", _is_dvc_lock),
    ):
        if not folder.is_dir() or not file.is_file() or whole(file.read_text(encoding="utf-8", errors="replace")):
            continue
        lock = FileLock(guard)  # DVC locks the same file in the same way (flock) while it writes
        if not _acquire(lock, guard, 5.0):
            continue
        try:
            if file.is_file() and not whole(file.read_text(encoding="utf-8", errors="replace")):
                os.replace(file, folder / f"{file.name}.torn")
                print(f"{file.relative_to(root)} was cut off when dvc was killed: moved to .dvc/tmp/{file.name}.torn")
        finally:
            lock.release()


def _is_rwlock(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _is_dvc_lock(text: str) -> bool:
    if "<<<<<<<" in text:
        return True  # not torn, but in need of its user
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    stages = content.get("stages") if isinstance(content, dict) and "schema" in content else None
    return isinstance(stages, dict) and not any(map(_is_cut, stages.values()))


def _is_cut(stage: object) -> bool:
    """Whether a stage's entry ends too early, as after `size:`. Single params may be null for good reasons."""
    if not isinstance(stage, dict) or not stage.get("cmd"):
        return True
    params = stage.get("params", {})
    if not isinstance(params, dict) or not all(isinstance(values, dict) for values in params.values()):
        return True
    entries = [entry for kind in ("deps", "outs") if kind in stage for entry in (stage[kind] or [None])]
    if any(not isinstance(entry, dict) or len(entry) < 2 or None in entry.values() for entry in entries):
        return True
    return any("md5" in entry and len(str(entry["md5"])) < 32 for entry in entries)


def holder_file(path: Path) -> Path:
    """The note beside a lock file that says who holds it."""
    return path.with_name(f"{path.name}.holder")


def _remove_folder(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)


def _acquire(lock: FileLock, path: Path, seconds: float) -> bool:
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            if path.parent.exists() and not path.parent.is_dir():
                raise  # a file in its place: no retry will change that
            continue  # it was there, and the last holder has removed it before mkdir looked again
        try:
            lock.acquire(timeout=seconds, poll_interval=0.1)
        except Timeout:
            return False
        except FileNotFoundError:
            continue  # the last holder has just removed the empty folder
        return True


def _holder(path: Path) -> str:
    try:
        note = json.loads(holder_file(path).read_text(encoding="utf-8"))
        return f"process {note['pid']} ({note['stage']} in {note['folder']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"  # it has taken the lock and not yet written its note


def shown_path(path: Path | str) -> str:
    """The path relative to cwd where it lies below, so that copies of the repository name it alike."""
    path = Path(path)
    inside = path.is_absolute() and path.is_relative_to(Path.cwd())
    return (path.relative_to(Path.cwd()) if inside else path).as_posix()


def _end(line: str, code: int) -> NoReturn:
    if line:
        print(line, file=sys.stderr, flush=True)
    if launch.is_worker():
        sys.stdout.flush()
        os._exit(code)  # the launcher is to see at once who failed first: taking torch down lasts seconds
    sys.exit(code)


if __name__ == "__main__":  # `make repro` runs this before `dvc repro`
    mend_dvc(Path.cwd())
