"""What `make repro` does before `dvc repro`: mends what a killed DVC left. `python -m pipeline.process.mend`"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from pathlib import Path
from typing import Any

import psutil
import yaml
from filelock import FileLock

from pipeline.process import command, git
from pipeline.process.command_line import command_line
from pipeline.process.dvc_process import is_dvc
from pipeline.process.locks import acquire


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
        if not acquire(lock, guard, 5.0):
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


def free_stale_locks(root: Path) -> None:
    """Removes entries of .dvc/tmp/rwlock whose DVC has ended, also where its pid belongs to another process today.

    DVC 3.67 takes an entry for held as long as any process has its pid. In a container, where pids start from 1 again,
    that is for good. An entry counts here while the process of that pid has the command of the entry, and began before
    the file was last written.
    """
    folder = root / ".dvc" / "tmp"
    file = folder / "rwlock"
    guard = FileLock(folder / "rwlock.lock")
    if not file.is_file() or not acquire(guard, folder / "rwlock.lock", 5.0):
        return
    try:
        entries, written = json.loads(file.read_text(encoding="utf-8")), file.stat().st_mtime
        readers = {path: [info for info in infos if _runs(info, written)] for path, infos in entries["read"].items()}
        writers = {path: info for path, info in entries["write"].items() if _runs(info, written)}
        held = {"write": writers, "read": {path: infos for path, infos in readers.items() if infos}}
        if held != {"write": entries["write"], "read": entries["read"]}:
            file.write_text(json.dumps(held), encoding="utf-8")
            print(".dvc/tmp/rwlock: removed the locks of a dvc that was killed")
    except (ValueError, KeyError, TypeError, AttributeError):
        return  # another format: DVC's own to judge
    finally:
        guard.release()


def _runs(info: dict[str, Any], written: float) -> bool:
    try:
        process = psutil.Process(int(info["pid"]))
        return process.create_time() <= written + 1.0 and str(info["cmd"]) in " ".join(command_line(process))
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def reattach(root: Path) -> None:
    """Goes back to the branch that a killed `dvc exp run` has left.

    While an experiment runs in the workspace, DVC detaches HEAD, stages what `-S` has changed, and keeps refs under
    refs/exps/exec. Killed, it leaves all three: the next commits would be on no branch. Files are left as they are.
    Does nothing while a DVC runs in the repository.
    """
    run = functools.partial(git.output, folder=root)
    names = run("for-each-ref", "--format=%(refname)", "refs/exps/exec").split()
    if not any(name.endswith("/EXEC_HEAD") for name in names) or _dvc_runs(root):
        return
    if not run("symbolic-ref", "-q", "HEAD"):
        head = run("rev-parse", "HEAD").strip()
        branches = run("for-each-ref", "--format=%(refname:short)", f"--points-at={head}", "refs/heads").split()
        if head != run("rev-parse", "refs/exps/exec/EXEC_HEAD").strip() or len(branches) != 1:
            choice = " or ".join(f"`git switch {name}`" for name in branches) or "`git switch -c NAME`"
            print(f"A killed `dvc exp run` has left HEAD on no branch: choose one yourself: {choice}")
            return
        run("symbolic-ref", "HEAD", f"refs/heads/{branches[0]}")
        # Not `reset` alone: an index that DVC has written may say that a file is as it was, where a value of the same
        # length came within the same second. A new one compares contents.
        run("read-tree", "HEAD")
        run("reset", "-q")
        print(
            f"A killed `dvc exp run` had left HEAD on no branch: back on {branches[0]}. Files are as it left them:"
            " `git diff params.yaml` shows its parameters, `git checkout params.yaml` takes them back"
        )
    for name in names:
        run("update-ref", "-d", name)


def _dvc_runs(root: Path) -> bool:
    for process in filter(is_dvc, psutil.process_iter()):
        with contextlib.suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(root.resolve()):
                return True
    return False


def main(root: Path) -> None:
    """All of it."""
    mend_dvc(root)
    free_stale_locks(root)
    reattach(root)


if __name__ == "__main__":
    sys.exit(command.run(main, Path.cwd()))
