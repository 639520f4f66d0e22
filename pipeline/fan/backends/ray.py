"""Jobs on the nodes of a Ray cluster, which need neither this machine's files nor its checkout."""

from __future__ import annotations

import socket
from typing import Any

from distill.errors import UserError
from pipeline.fan.backends.base import State, Submission, load, script


class Ray:
    """Jobs as Ray tasks. They end with this process: a coordinator that was started again submits them anew.

    Args:
        work: folder for clones on the nodes, for their shells to expand.
        gpus: GPUs of a job, which Ray gives out.
        options: `address` of the head (default: auto), and what Ray's `options` takes: num_cpus, resources, memory.
        setup: shell commands in the clone, before each job.

    Raises:
        UserError: Ray is not installed, there is no cluster, or it does not know an option.
    """

    shared = False
    ends_jobs = False

    def __init__(self, work: str, gpus: int, options: dict[str, Any], setup: str = ""):
        self._ray = load("ray", "ray")
        self._work, self._setup, self._tasks = work, setup, {}
        options = dict(options)
        address = options.pop("address", "auto")
        _check_reachable(address)
        try:
            self._ray.init(address=address, log_to_driver=False, logging_level="ERROR")
            # The coordinator retries: Ray would run a lost task again without counting it.
            self._task = self._ray.remote(max_retries=0, num_gpus=gpus, **options)(_task())
        except Exception as error:  # ConnectionError, ValueError, and exceptions of Ray's own
            reason = " ".join(str(error).split()).partition(". ")[0]
            fix = "ray start --head, or --option address=HOST:6379"
            raise UserError(f"--backend ray: {reason}: {fix}") from error

    def submit(self, job: Submission) -> str:
        text = script(job.name, '"$FAN_JOB"', self._work, self._setup)
        files = self._ray.put((job.file.read_text(encoding="utf-8"), job.bundle.read_bytes()))
        self._tasks[job.name] = (self._task.remote(job.name, files, text), job.log)
        return job.name

    def state(self, handle: str) -> State:
        if handle not in self._tasks:
            return State("ended")
        task, log = self._tasks[handle]
        if not self._ray.wait([task], timeout=0)[0]:
            return State("running")
        try:
            code, output = self._ray.get(task)
        except self._ray.exceptions.RayError as error:  # its node or its worker has gone
            log.write_text(f"{error}\n", encoding="utf-8")
            return State("ended")
        log.write_text(output, encoding="utf-8")
        return State("ended", code if 0 <= code <= 128 else None)

    def cancel(self, handle: str) -> None:
        if handle in self._tasks:
            self._ray.cancel(self._tasks[handle][0], force=True)


def _check_reachable(address: str) -> None:
    """Raises UserError where nothing answers at HOST:PORT: Ray itself would try for many minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UserError(f"--backend ray: address: {address}: {error}: start it there by ray start --head") from error


def _task() -> Any:
    """What a node runs: a function inside another, which Ray sends as it is instead of importing this module there."""

    def run(name: str, files: tuple[str, bytes], text: str) -> tuple[int, str]:
        import os
        import pathlib
        import subprocess
        import tempfile

        with tempfile.TemporaryDirectory(prefix="fan-") as folder:
            file = pathlib.Path(folder, f"{name}.json")
            file.touch(mode=0o600)
            file.write_text(files[0], encoding="utf-8")
            file.with_suffix(".bundle").write_bytes(files[1])
            environment = {**os.environ, "FAN_JOB": str(file)}
            done = subprocess.run(
                ["bash", "-c", text], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
            )
        return done.returncode, done.stdout[-65536:].decode(errors="replace")

    return run
