"""Training and prediction in several processes, where the machine's own setting asks for them, by the same command.

| setting | such a stage then runs |
|---|---|
| torchrun itself, or another launcher that sets RANK and WORLD_SIZE | as one of those processes |
| `DISTILL_LAUNCH="srun torchrun --nnodes 2 …"` | as `srun torchrun --nnodes 2 … -m pipeline distill ted 1` |
| `DISTILL_PROCESSES=4` | as 4 processes on this machine, one for each GPU |
| accelerate's config file, made by `accelerate config` | as `num_processes` processes on this machine |

The first that is set counts. For `predict`, `DISTILL_LAUNCH` does not: it then runs as `DISTILL_PROCESSES` says, or as
one process. Other stages always run as one process.

Processes on this machine are started and watched by accelerate's launcher, which is torchrun. This module prints
the message at its end, because torchrun ends with its own traceback and exit code 1 after every error of a stage.
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

from distill.errors import UserError
from distill.runtime import distributed

# Scripts that train one model, whose work several processes share.
TRAININGS = frozenset({"control", "distill", "finetune", "train_generator", "train_filters"})
# This one runs a model over the training features. Its processes write into the same files, which several machines
# cannot do through a network's file system.
ONE_MACHINE = "predict"


def command(script: str, words: Sequence[str]) -> list[str]:
    """Words after `python` that start a stage; every launcher is given these."""
    return ["-m", "pipeline", script, *words]


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
    text = os.environ.get("DISTILL_LAUNCH", "")
    try:
        launcher = shlex.split(text)
    except ValueError as error:
        raise UserError(f"DISTILL_LAUNCH: {text!r}: {str(error).lower()}: correct it, or unset it") from error
    if launcher and script in TRAININGS:
        return launcher
    if text := os.environ.get("DISTILL_PROCESSES", "").strip():
        return _number("DISTILL_PROCESSES", text)
    return 1 if launcher else _accelerates()


def _number(name: str, value: object) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if number < 1:
        raise UserError(f"{name}: {value!r}: expected a number of processes, 1 or more")
    return number


def _accelerates() -> int:
    """`num_processes` of accelerate's config file, 1 where there is none.

    Only the file's place is worked out here: asking accelerate for it imports torch, also where there is no file.
    """
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    file = Path(home).expanduser() / "accelerate" / "default_config.yaml"
    if not os.path.isfile(file):  # false also for an unreadable folder, as in accelerate
        return 1
    from accelerate.commands.config import load_config_from_file

    try:
        config = load_config_from_file(str(file))
        machines = int(getattr(config, "num_machines", 1))
    except Exception as error:  # accelerate checks little: a hand-written file may raise a TypeError
        reason = " ".join(str(error).split())
        fix = "run `accelerate config`, or set DISTILL_PROCESSES"
        raise UserError(f"{file}: cannot be read ({reason}): {fix}") from error
    if machines > 1:
        raise UserError(
            f"{file}: num_machines: {machines}: say in DISTILL_LAUNCH how to reach the other machines, e.g."
            ' "srun torchrun --nnodes 2 …", or set DISTILL_PROCESSES to use this one only'
        )
    return _number(f"{file}: num_processes", getattr(config, "num_processes", 1))


def run(how: int | list[str], script: str, words: Sequence[str]) -> int:
    """Run the stage in several processes, and wait for them.

    If one of them ends early, all end; nothing is started again.

    Args:
        how: result of `wanted`: a number of processes, 2 or more, or the words of a launcher.
        words: words of the command line, after the script's name.

    Returns:
        The exit code of the process that ended first with an error, 0 where none did.
    """
    if isinstance(how, list):
        return _through(how, command(script, words))
    return _here(how, command(script, words))


def _through(launcher: list[str], stage: list[str]) -> int:
    # The launcher may start a single process, which must not launch again.
    environment = os.environ | {"DISTILL_LAUNCH": "", "DISTILL_PROCESSES": "1"}
    try:
        process = subprocess.Popen([*launcher, *stage], env=environment)
    except OSError as error:
        raise UserError(f"DISTILL_LAUNCH: {launcher[0]!r} cannot be started ({error.strerror}): correct it") from error
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()  # the terminal has interrupted it too: only it can end the processes on the other machines
        raise
    return code if code >= 0 else 128 - code


def _here(count: int, stage: list[str]) -> int:
    import torch.distributed.run  # noqa: F401 (accelerate imports it later; its loggers are silenced here)
    from accelerate.commands.launch import launch_command_parser, multi_gpu_launcher
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # Their messages would repeat the one below.
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("torch.distributed")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a warning of each process about what DDP might save
    options = launch_command_parser().parse_args(
        [
            *("--num_processes", str(count), "--num_machines", "1"),
            *("--main_process_port", "0"),  # any free one
            *("--mixed_precision", "no", "--dynamo_backend", "no"),  # or Trainer would follow accelerate
            *stage,
        ]
    )
    options.num_cpu_threads_per_process = os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1) // count)
    # Options of torchrun that accelerate passes on: no fixed port, which another stage may take meanwhile, and no name
    # of the machine, which need not resolve.
    options.standalone, options.local_addr = True, "localhost"
    try:
        # Not `launch_command`, which reads accelerate's file also where DISTILL_PROCESSES counts. It needs no GPU.
        multi_gpu_launcher(options)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode > 0:
            return failure.exitcode  # it has printed the reason
        name = signal.Signals(-failure.exitcode).name
        print(
            f"error: process {rank} of {count} was ended by {name}, which ended the others too"
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
