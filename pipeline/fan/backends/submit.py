"""Jobs on this machine, or on a SLURM cluster whose nodes see its files: by submitit."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from pathlib import Path
from typing import Any

import psutil

from distill.errors import UserError
from pipeline.fan.backends.base import State, Submission, load, script
from pipeline.process.command_line import command_line

#: Long enough for any job here; SLURM's own limit is an option of the user's.
_MINUTES = 60 * 24 * 30
_CODE = re.compile(r"^job ended with (\d+)$", re.MULTILINE)
_ENDED = {"FINISHED", "COMPLETED", "FAILED", "INTERRUPTED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}


class Submitit:
    """Jobs through submitit's executors.

    Args:
        cluster: `local` or `slurm`.
        folder: for submitit's files and logs, seen by all nodes.
        work: folder for clones.
        gpus: GPUs of a job.
        options: submitit's parameters, such as slurm_partition and timeout_min.
        setup: shell commands in the clone, before each job.
        slots: jobs at once.
    """

    shared = True

    def __init__(
        self, cluster: str, folder: Path, work: str, gpus: int, options: dict[str, Any], setup: str = "", slots: int = 1
    ):
        self._submitit = load("submitit", "fan")
        self.ends_jobs = cluster == "local"
        self._cluster, self._folder, self._work, self._gpus, self._setup = cluster, folder, work, gpus, setup
        self._share_cores = cluster == "local" and slots > 1
        try:
            self._executor = self._submitit.AutoExecutor(folder=folder / "%j", cluster=cluster)
            default = {"gpus_per_node": gpus} if cluster == "slurm" and gpus else {}
            default |= {"timeout_min": _MINUTES} if cluster == "local" else {}
            self._executor.update_parameters(**default | {"stderr_to_stdout": True} | options)
        except (RuntimeError, NameError, TypeError, ValueError) as error:
            raise UserError(f"--backend {cluster}: {' '.join(str(error).split())}: see --option") from error
        self._jobs: dict[str, Any] = {}

    def submit(self, job: Submission) -> str:
        own = script(job.name, shlex.quote(str(job.file)), self._work, self._setup)
        text = "\n".join([self._devices(job.slot), self._waiting(), own])
        # A worker's code is told in its output: submitit only says whether a function has raised.
        wrapped = f'bash -c {shlex.quote(text)} && code=0 || code=$?\necho "job ended with $code"'
        function = self._submitit.helpers.CommandFunction(["bash", "-c", wrapped])
        try:
            submitted = self._executor.submit(function)
        except Exception as error:  # sbatch refuses in many ways
            raise UserError(f"--backend {self._cluster}: {' '.join(str(error).split())}") from error
        self._jobs[submitted.job_id] = submitted
        job.log.unlink(missing_ok=True)
        job.log.symlink_to(Path(submitted.paths.stdout).absolute())
        return submitted.job_id

    def state(self, handle: str) -> State:
        job = self._job(handle)
        if job.paths.result_pickle.exists():
            if job.exception() is not None:
                return State("ended")
            codes = _CODE.findall(job.result())
            code = int(codes[-1]) if codes else None
            return State("ended", code if code is None or code <= 128 else None)
        if self._cluster == "local" and job._process is None:  # of a coordinator that has gone
            return State("running" if _is_controller(int(handle)) else "ended")
        word = job.state.split()[0].upper()  # `CANCELLED by 1000`
        if word in _ENDED and not job.paths.result_pickle.exists():
            return State("ended")
        return State("running" if word in {"RUNNING", "COMPLETING"} else "waiting")

    def cancel(self, handle: str) -> None:
        if self._cluster == "slurm":
            self._job(handle).cancel(check=False)
        elif _is_controller(int(handle)):  # submitit would end its own process and leave the stage's
            with contextlib.suppress(psutil.Error):
                controller = psutil.Process(int(handle))
                for process in [controller, *controller.children(recursive=True)]:
                    with contextlib.suppress(psutil.Error):
                        process.kill()

    def _job(self, handle: str) -> Any:
        if handle not in self._jobs:
            kind = self._submitit.SlurmJob if self._cluster == "slurm" else self._submitit.LocalJob
            self._jobs[handle] = kind(folder=self._folder / "%j", job_id=handle)
        return self._jobs[handle]

    def _waiting(self) -> str:
        """OpenMP's threads of several jobs keep all cores busy with waiting, unless they are told to sleep.

        Fewer threads would do, too, but change the last digits.
        """
        return 'export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"' if self._share_cores else ""

    def _devices(self, slot: int) -> str:
        """GPUs of a slot here: submitit hides them all from its local jobs. On a cluster SLURM gives them out."""
        if self._cluster == "slurm":
            return ""
        if self._gpus:
            return f"export CUDA_VISIBLE_DEVICES={','.join(str(slot * self._gpus + n) for n in range(self._gpus))}"
        outer = os.environ.get("CUDA_VISIBLE_DEVICES")
        return "unset CUDA_VISIBLE_DEVICES" if outer is None else f"export CUDA_VISIBLE_DEVICES={shlex.quote(outer)}"


def _is_controller(pid: int) -> bool:
    try:
        return "submitit.local._local" in command_line(psutil.Process(pid))
    except psutil.Error:
        return False
