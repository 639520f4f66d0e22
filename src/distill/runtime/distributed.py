"""Several processes that train one model together: which of them this is, and what they tell one another.

Launchers (torchrun, `pipeline.launch.launcher`, accelerate) say in the environment which process this is: RANK, WORLD_SIZE
and LOCAL_RANK. One process is the rule: nothing here then imports torch, waits or sends anything. The first process,
rank 0, owns the terminal, the locks, the files and MLflow; the others calculate their share of every batch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from distill.errors import UserError

T = TypeVar("T")

# How long one process may wait for what another one does alone: a lock, or scores of the selection split.
_PATIENCE = timedelta(days=7)
_group = None  # of the processes, for what they tell one another; None: there is one process


def launched() -> tuple[int, int]:
    """(rank, number of processes) that a launcher gave this process: (0, 1) where there was none."""
    if not {"RANK", "WORLD_SIZE", "LOCAL_RANK"} <= set(os.environ):
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def count() -> int:
    """Number of processes that train together: 1 before `join` and after `leave`."""
    return launched()[1] if _group is not None else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return launched()[0] if _group is not None else 0


def is_first() -> bool:
    """Whether this process prints, locks, writes files and scores."""
    return rank() == 0


def join() -> None:
    """Meet the other processes that the launcher has started; does nothing where there are none.

    Gradients go through NCCL where there are GPUs, one for each process of a machine, and through gloo otherwise.

    Raises:
        UserError: there are fewer GPUs than processes.
    """
    global _group
    if launched()[1] == 1 or _group is not None:
        return
    import torch
    from torch import distributed

    backend = "gloo"
    if torch.cuda.is_available():
        local, devices = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= devices:
            raise UserError(
                f"DISTILL_PROCESSES: {os.environ.get('LOCAL_WORLD_SIZE', local + 1)} processes, but this machine has"
                f" {devices} GPUs: ask for {devices} or fewer"
            )
        torch.cuda.set_device(local)
        backend = "nccl"
    distributed.init_process_group(backend)
    _group = distributed.new_group(backend="gloo", timeout=_PATIENCE)


def leave() -> None:
    """Part from the others, when all have come here: what follows is done by one process alone."""
    global _group
    if _group is None:
        return
    from torch import distributed

    wait()
    distributed.destroy_process_group()
    _group = None
    # Or whoever asks later (accelerate does) would look for the others.
    forget()


def forget() -> None:
    """Be a process by itself, whatever the launcher said."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        os.environ.pop(name, None)


def wait() -> None:
    """Go on when all processes have come here."""
    if _group is not None:
        from torch import distributed

        distributed.barrier(group=_group)


def from_first(make: Callable[[], T]) -> T:
    """What `make` returns in the first process, in all of them; it is called there only.

    Args:
        make: gives anything that pickle knows. An error in it ends the other processes too.
    """
    if _group is None:
        return make()
    from torch import distributed

    answer: list = [False, None]
    try:
        if is_first():
            answer = [True, make()]
    finally:
        distributed.broadcast_object_list(answer, src=0, group=_group)
    if not answer[0]:
        give_way()
        raise SystemExit(1)  # the first process says why
    return answer[1]


def give_way() -> None:
    """Leave the launcher time to find the process that failed first and to end this one, which failed because of it."""
    if launched()[1] > 1:
        time.sleep(5)


def mean(values: list[float]) -> list[float]:
    """The mean of each number over all processes, in float64."""
    if _group is None:
        return values
    import torch
    from torch import distributed

    total = torch.tensor(values, dtype=torch.float64)
    distributed.all_reduce(total, group=_group)
    return (total / count()).tolist()


def share_of(batch_size: int, gradient_accumulation: int) -> int:
    """Examples of each process in each forward pass.

    Args:
        batch_size: examples per update, of all processes together.

    Raises:
        UserError: they cannot be dealt out evenly.
    """
    parts = gradient_accumulation * count()
    if batch_size % parts:
        raise UserError(
            f"params.yaml: batch_size: {batch_size} examples per update cannot be dealt to {count()} processes with"
            f" gradient_accumulation {gradient_accumulation}: choose a multiple of {parts}, or another number of"
            " processes (DISTILL_PROCESSES)"
        )
    return batch_size // parts
