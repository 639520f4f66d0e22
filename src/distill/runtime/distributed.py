"""Several processes that train one model together: the rank of this one, and what they exchange.

accelerate's `PartialState` joins the processes and gives each its rank; Trainer uses the same one. With one process, as
usual, nothing here imports torch or accelerate, waits or sends anything. Rank 0 owns the terminal, the locks, the files
and MLflow; the others calculate their share of every batch.

Two things are done by hand. `launched` reads the launcher's variables, because `PartialState` needs seconds of imports
even where there is one process. `wait` and `from_first` use a process group with a timeout of a week, because
accelerate's `wait_for_everyone` and `broadcast_object_list` use that of the gradients: its 10 (NCCL) or 30 minutes
(gloo) must end a training whose GPU hangs, but not one whose rank 0 waits for a lock or scores a large split.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from distill.errors import UserError

if TYPE_CHECKING:
    from accelerate import PartialState
    from torch.distributed import ProcessGroup

T = TypeVar("T")

_LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")  # some launchers leave the last one out
# Time that a process may wait for work that another one does alone.
_PATIENCE = timedelta(days=7)
_state: PartialState | None = None  # None: there is one process
_patient: ProcessGroup | None = None  # gloo with a timeout of `_PATIENCE`


def launched() -> tuple[int, int]:
    """(rank, number of processes) that a launcher gave this process: (0, 1) where there was none.

    Raises:
        UserError: the launcher's variables have impossible values; they are then cleared.
    """
    if not set(_LAUNCHERS[:3]) <= set(os.environ):
        return 0, 1
    texts = {name: os.environ[name] for name in _LAUNCHERS if name in os.environ}
    try:
        rank, size, *local = (int(text) for text in texts.values())
        sensible = 0 <= rank < size and min(local) >= 0
    except ValueError:
        sensible = False
    if not sensible:
        forget()
        shown = ", ".join(f"{name}={text!r}" for name, text in texts.items())
        raise UserError(f"{shown}: no process of a launcher has these: unset them, or start the stage by torchrun")
    return rank, size


def count() -> int:
    """Number of processes that train together: 1 before `join` and after `leave`."""
    return _state.num_processes if _state is not None else 1


def rank() -> int:
    """Rank of this process among them, from 0."""
    return _state.process_index if _state is not None else 0


def is_first() -> bool:
    """Whether this process prints, locks, writes files and scores."""
    return rank() == 0


def join() -> None:
    """Meet the other processes that the launcher has started; does nothing where there are none.

    Gradients go through NCCL where there are GPUs, one for each process of a machine, and through gloo otherwise.

    Raises:
        UserError: there are fewer GPUs than processes.
    """
    global _state, _patient
    if launched()[1] == 1 or _state is not None:
        return
    import torch
    from accelerate import PartialState

    if torch.cuda.is_available():
        # PartialState would give the same GPU to two processes, which NCCL refuses in the middle of the training.
        local, devices = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= devices:
            raise UserError(
                f"DISTILL_PROCESSES: {os.environ.get('LOCAL_WORLD_SIZE', local + 1)} processes, but this machine has"
                f" {devices} GPUs: ask for {devices} or fewer"
            )
    _state = PartialState(cpu=not torch.cuda.is_available())  # without `cpu` and without a GPU it sees one process
    _patient = torch.distributed.new_group(backend="gloo", timeout=_PATIENCE)


def leave() -> None:
    """Leave the group once all processes are here: each is then a single process."""
    global _state, _patient
    if _state is None:
        return
    import torch
    from accelerate.state import AcceleratorState, PartialState

    wait()
    _state.destroy_process_group()
    _state = _patient = None
    forget()
    # Trainer's arguments share accelerate's state, which is now that of one process.
    AcceleratorState._reset_state(reset_partial_state=True)
    PartialState(cpu=not torch.cuda.is_available())


def forget() -> None:
    """Clear the launcher's variables: this is then a single process."""
    for name in _LAUNCHERS:
        os.environ.pop(name, None)


def wait() -> None:
    """Return once all processes are here."""
    if _state is not None:
        from torch import distributed

        distributed.barrier(group=_patient)


def from_first(make: Callable[[], T]) -> T:
    """The value that `make` returns in rank 0, in all processes; only rank 0 calls it.

    Args:
        make: function whose value can be pickled. An error in it ends the other processes too.
    """
    if _state is None:
        return make()
    from torch import distributed

    answer: list = [False, None]
    try:
        if is_first():
            answer = [True, make()]
    finally:
        distributed.broadcast_object_list(answer, src=0, group=_patient)
    if not answer[0]:
        give_way()
        raise SystemExit(1)  # rank 0 says why
    return answer[1]


def give_way() -> None:
    """Leave the launcher time to find the process that failed first and to end this one, which failed because of it."""
    if launched()[1] > 1:
        time.sleep(5)


def mean(values: list[float]) -> list[float]:
    """The mean of each number over all processes, in float64."""
    if _state is None:
        return values
    import torch
    from accelerate.utils import reduce

    return reduce(torch.tensor(values, dtype=torch.float64, device=_state.device), "mean").tolist()


def share_of(batch_size: int, gradient_accumulation: int) -> int:
    """Examples of each process in each forward pass.

    Args:
        batch_size: examples per update, of all processes together.

    Raises:
        UserError: they cannot be divided evenly.
    """
    parts = gradient_accumulation * count()
    if batch_size % parts:
        raise UserError(
            f"params.yaml: batch_size: {batch_size} examples per update cannot be dealt to {count()} processes with"
            f" gradient_accumulation {gradient_accumulation}: choose a multiple of {parts}, or another number of"
            " processes (DISTILL_PROCESSES)"
        )
    return batch_size // parts
