"""What a worker does with a job: `python -m pipeline.fan.node JOB.json`, in a clone of the fan-out's commit.

It fetches what the job's stages read, runs them by `dvc repro`, and pushes their outputs and run cache entries, unit by
unit, so that a worker that is lost loses one student at most. A retried job goes on from the checkpoints in its clone
where the clone is still there.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from dvc.repo import Repo

from distill.errors import UserError
from pipeline.fan import git
from pipeline.fan.desk import LOCK, configure, run_dvc
from pipeline.fan.store import Store
from pipeline.process import command

#: Exit code of a job whose stage was killed: another worker may have more luck. That of sysexits' EX_TEMPFAIL.
LOST = 75
_ENDED = re.compile(r"exited with (-?\d+)")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def main(words: list[str]) -> int:
    """Runs the job; returns the exit code.

    Raises:
        UserError: a stage refuses its inputs or has a bug, or the remote is full, read-only or away.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        os.environ["DISTILL_TRACKING"] = "off"  # the clone's own database would go with the clone
    job = json.loads(Path(words[0]).read_text(encoding="utf-8"))
    folder = Path.cwd()
    with _alone(folder.with_name(f"{folder.name}.lock")) as lock:
        git.update(folder, Path(words[0]).with_suffix(".bundle"))
        # A node's clones share a cache: what several jobs read is fetched once.
        configure(folder, job["config"], Path(job["cache"] or folder.parent.parent / "cache").absolute())
        _run(job, lock)
    shutil.rmtree(folder)  # its outputs are links into the cache
    return command.DONE


def _run(job: dict[str, Any], lock: int) -> None:
    begin, pushed = time.time(), 0
    with Repo() as repo:
        Store(repo, job["run"]).check_writable(job["name"])
    if reads := job["reads"]:
        run_dvc(Path.cwd(), "pull", "--quiet", *reads)
    _forget([name for unit in job["units"] for name in unit])
    for number, unit in enumerate(job["units"], start=1):
        print(f"unit {number} of {len(job['units'])}: {' '.join(unit)}", flush=True)
        _reproduce(unit, lock)
        with Repo() as repo:
            pushed += Store(repo, job["run"]).push(unit)
    with Repo() as repo:
        entries = yaml.load(Path(LOCK).read_text(encoding="utf-8"), _LOADER)["stages"]
        names = [name for unit in job["units"] for name in unit]
        loose = [out.def_path for name in names for out in repo.stage.collect(name)[0].outs if not out.use_cache]
        result = {
            "entries": {name: entries[name] for name in names},
            "files": {path: Path(path).read_text(encoding="utf-8") for path in loose},
            "seconds": round(time.time() - begin, 1),
            "read_bytes": sum(map(_size, job["reads"])),
            "written_bytes": pushed,
        }
        Store(repo, job["run"]).write(job["name"], result)


def _forget(names: list[str]) -> None:
    """Takes the job's own stages out of dvc.lock: DVC would skip them, and there would be nothing to push.

    What they have made already comes back from the run cache.
    """
    file = Path(LOCK)
    lock = yaml.load(file.read_text(encoding="utf-8"), _LOADER)
    lock["stages"] = {name: entry for name, entry in lock["stages"].items() if name not in names}
    file.write_text(yaml.safe_dump(lock, sort_keys=False), encoding="utf-8")


def _reproduce(targets: list[str], lock: int) -> None:
    """`dvc repro --pull` of these stages alone: the coordinator vouches for what they read.

    Asked about the stages before, DVC would find `data/signals` changed in a clone that has one method's part of it,
    and make all of it again.

    Args:
        targets: names of stages, each after those that it needs.
        lock: a file that DVC keeps open, and with it this job's lock, where it outlives this process.
    """
    words = ["dvc", "repro", "--single-item", "--pull", "--allow-missing", *targets]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", pass_fds=(lock,)
    )
    last: deque[str] = deque(maxlen=40)
    for line in process.stdout or ():
        print(line, end="", flush=True)
        last.append(line.strip())
    code = process.wait()
    if not code:
        return
    ended = next((int(match[1]) for line in reversed(last) if (match := _ENDED.search(line))), None)
    if code < 0 or (ended is not None and (ended < 0 or ended > 128)):
        name = signal.Signals(-code).name if code < 0 else f"code {ended}"
        print(f"{' '.join(targets)}: ended by {name}", file=sys.stderr, flush=True)
        sys.exit(LOST)
    told = [line for line in last if re.match(r"(error|\w*Error): ", line)]
    reason = (told or [line for line in last if line.startswith("ERROR: ")] or ["see the log"])[-1]
    raise UserError(
        f"{targets[0]}{' …' if len(targets) > 1 else ''}: {reason.removeprefix('error: ').removeprefix('ERROR: ')}"
    )


def _size(path: str) -> int:
    place = Path(path)
    files = [file for file in place.rglob("*") if file.is_file()] if place.is_dir() else [place]
    return sum(file.stat().st_size for file in files if file.exists())


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[int]:
    """Holds the job's lock on this machine, waiting for a worker that is thought lost and still at it.

    A `dvc repro` that outlives its worker keeps the lock with the open file.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(command.run(main, sys.argv[1:]))
