"""Training and prediction in several processes, where the machine's own setting asks for them, by the same command.

| setting | such a stage then runs |
|---|---|
| torchrun itself, or whatever else sets RANK and WORLD_SIZE | as one of those processes |
| `DISTILL_LAUNCH="srun torchrun --nnodes 2 …"` | as `srun torchrun --nnodes 2 … -m pipeline.distill ted 1` |
| `DISTILL_PROCESSES=4` | as 4 processes on this machine, one for each GPU |
| accelerate's config file, made by `accelerate config` | as `num_processes` processes on this machine |

The first that is set counts. For `predict`, `DISTILL_LAUNCH` does not: it then runs as `DISTILL_PROCESSES` says, or as
one process. Other stages run as one process whatever is set.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from distill.errors import UserError
from distill.runtime import distributed

# Scripts that train one model, and so have work to share.
TRAININGS = frozenset({"distill", "finetune", "generator", "train_filters"})
# This one runs a model over the training features. Its processes write into the same files, which several machines
# cannot do through a network's file system.
ONE_MACHINE = "predict"


def shares(script: str) -> bool:
    """Whether a stage's script shares its work with the other processes that a launcher has started."""
    _, count = distributed.launched()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", count))
    return script in TRAININGS or (script == ONE_MACHINE and here == count)


def is_worker() -> bool:
    """Whether a launcher has started this process as one of several."""
    return distributed.launched()[1] > 1


def wanted(script: str) -> int | list[str]:
    """How a stage's script is to run: the number of processes, or the words of a launcher.

    Raises:
        UserError: a setting makes no sense.
    """
    if script not in {*TRAININGS, ONE_MACHINE} or is_worker():
        return 1
    words = shlex.split(os.environ.get("DISTILL_LAUNCH", ""))
    if words and script in TRAININGS:
        return words
    if text := os.environ.get("DISTILL_PROCESSES", "").strip():
        if not text.isdigit() or int(text) < 1:
            raise UserError(f"DISTILL_PROCESSES: {text!r}: expected a number of processes, 1 or more")
        return int(text)
    return 1 if words else _accelerates()


def _accelerates() -> int:
    """`num_processes` of accelerate's config file, 1 where there is none."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    file = Path(home).expanduser() / "accelerate" / "default_config.yaml"
    try:
        settings = yaml.safe_load(file.read_text())
        machines, count = int(settings.get("num_machines", 1)), int(settings.get("num_processes", 1))
    except FileNotFoundError:
        return 1
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError) as error:
        raise UserError(
            f"{file}: cannot be read ({error}): run `accelerate config`, or set DISTILL_PROCESSES"
        ) from error
    if machines > 1:
        raise UserError(
            f"{file}: num_machines: {machines}: say in DISTILL_LAUNCH how to reach the other machines, e.g."
            ' "srun torchrun --nnodes 2 …", or set DISTILL_PROCESSES to use this one only'
        )
    return count


def run(how: int | list[str], script: str, words: Sequence[str]) -> int:
    """Run the stage in several processes, and wait for them.

    Whatever ends one of them ends all; nothing is started again.

    Args:
        how: what `wanted` gave.
        words: of the command line, after the script's name.

    Returns:
        The exit code of the process that ended first with an error, 0 where none did.
    """
    module = ["-m", f"pipeline.{script}", *words]
    if isinstance(how, list):
        try:
            # What it starts may be one process, which is not to launch again.
            environment = os.environ | {"DISTILL_LAUNCH": "", "DISTILL_PROCESSES": "1"}
            return subprocess.run([*how, *module], env=environment).returncode
        except OSError as error:
            raise UserError(f"DISTILL_LAUNCH: {how[0]!r} cannot be started ({error.strerror}): correct it") from error
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Its warnings repeat what is said below.
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("torch.distributed")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // how)))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a warning of each process about what DDP might save
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=how,
        run_id=f"distill-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # any free port
        local_addr="localhost",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)(*module)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode > 0:
            return failure.exitcode  # it has said why
        name = signal.Signals(-failure.exitcode).name
        print(
            f"error: process {rank} of {how} was ended by {name}, which ended the others too"
            f"{' (too little memory?)' if name == 'SIGKILL' else ''}; the same command goes on from here",
            file=sys.stderr,
            flush=True,
        )
        return 1
    except SignalException as error:
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        return 128 + int(error.sigval)
    return 0
