"""Jobs on machines of a cloud, by SkyPilot's managed jobs: it finds a machine, and another where a spot machine goes.

By its program `sky`, which may have an environment of its own: its dependencies are many.
"""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import yaml

from distill.errors import UserError
from pipeline.fan.backends.base import State, Submission, script
from pipeline.fan.node import LOST

_JOBS = "~/fan/jobs"
#: Status of a managed job -> how it stands. A job that fails ends with 2, any other exit code is run again.
_STATES = {
    "PENDING": State("waiting"),
    "SUBMITTED": State("waiting"),
    "STARTING": State("waiting"),
    "RUNNING": State("running"),
    "WINDING_DOWN": State("running"),
    "RECOVERING": State("waiting"),
    "CANCELLING": State("running"),
    "SUCCEEDED": State("ended", 0),
    "FAILED": State("ended", 2),
    "FAILED_SETUP": State("ended", 2),
    "FAILED_PRECHECKS": State("ended", 2),
}
_LOOK_SECONDS = 30.0  # `sky jobs queue` asks a server


def task(job: Submission, run: str, work: str, gpus: int, options: dict[str, Any], setup: str) -> dict[str, Any]:
    """A job as a task file of SkyPilot.

    Args:
        job: the job.
        run: name of the fan-out.
        work: folder for clones on the machine.
        gpus: GPUs of a job, of any kind that `options` does not name.
        options: SkyPilot's `resources`: infra, accelerators, instance_type, use_spot, disk_size, …
        setup: shell commands in the clone, before the job.
    """
    resources: dict[str, Any] = {"use_spot": True}
    if gpus:
        resources["accelerators"] = {kind: gpus for kind in ("L4", "A10G", "A100")}
    # Machines that go are SkyPilot's to replace; a worker whose stage was killed asks for another try.
    resources |= {"job_recovery": {"max_restarts_on_errors": 0, "recover_on_exit_codes": [LOST]}} | options
    return {
        "name": f"fan-{run}-{job.name}",
        "resources": resources,
        "file_mounts": {
            f"{_JOBS}/{job.name}.json": str(job.file),
            f"{_JOBS}/{job.name}.bundle": str(job.bundle),
        },
        "run": script(job.name, f'"$HOME"/fan/jobs/{job.name}.json', work, setup),
    }


class Sky:
    """Managed jobs.

    Args:
        run: name of the fan-out.
        work, gpus, options, setup: as `task` takes them.
    """

    shared = False
    ends_jobs = False

    def __init__(self, run: str, work: str, gpus: int, options: dict[str, Any], setup: str = ""):
        self._run, self._work, self._gpus, self._options, self._setup = run, work, gpus, options, setup
        self._statuses: dict[str, str] = {}
        self._looked = float("-inf")
        _sky("--version")

    def submit(self, job: Submission) -> str:
        content = task(job, self._run, self._work, self._gpus, self._options, self._setup)
        file = job.file.with_suffix(".yaml")
        file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        # A name of its own for each try: the queue lists those that have ended too.
        name = f"{content['name']}-{int(time.time())}"
        _sky("jobs", "launch", "--yes", "--detach-run", "--name", name, str(file))
        job.log.write_text(f"sky jobs logs --name {name}\n", encoding="utf-8")
        self._statuses[name] = "PENDING"
        return name

    def state(self, handle: str) -> State:
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            listed = json.loads(_sky("jobs", "queue", "--all", "--output", "json") or "[]")
            self._statuses |= {job["job_name"]: job["status"] for job in listed}
            self._looked = time.monotonic()
        status = self._statuses.get(handle)
        return State("ended") if status is None else _STATES.get(status, State("ended"))

    def cancel(self, handle: str) -> None:
        _sky("jobs", "cancel", "--yes", "--name", handle)


def _sky(*words: str) -> str:
    """What the program `sky` prints.

    Raises:
        UserError: there is no such program, or it fails.
    """
    try:
        done = subprocess.run(["sky", *words], capture_output=True, encoding="utf-8", check=False)
    except FileNotFoundError:
        fix = "pip install 'skypilot[aws]' (or another cloud), in an environment of its own, and put sky on the PATH"
        raise UserError(f"--backend sky: no program sky: {fix}") from None
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()] or ["no reason given"]
        raise UserError(f"sky {' '.join(words[:2])}: {lines[-1].strip()}")
    return done.stdout
