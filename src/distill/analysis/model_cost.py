"""What a model costs to use: its size, the arithmetic of a forward pass, and its speed on this machine."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from distill.config.scoring import Cost
from distill.data.loading.batches import Collator, Rows
from distill.errors import UserError
from distill.models.forward import autocast, default_device, forward_pass, in_eval
from distill.models.predict import INPUTS, length_order
from distill.runtime import allocator
from distill.tasks.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Batch = dict[str, Tensor]
Forward = Callable[[Batch], Any]

# Least and most batches that one batch size is measured on: few enough to be repeated within `seconds`, enough to
# represent all lengths. Batches of one row are many, because their percentiles are reported.
_SINGLE, _LARGER = (30, 300), (3, 16)
#: Seconds that a model of one of several libraries has in a turn.
TURN = 0.5


@dataclass(frozen=True)
class Size:
    """The figures that do not depend on the machine.

    Attributes:
        parameters: number of all parameters.
        parameters_without_embeddings: number without the tables of `nn.Embedding`: words, positions, token types,
            DeBERTa's relative positions.
        flops_per_token: FLOPs per token of the forward pass over one row of `tokens` tokens.
        checkpoint_mb: size of the safetensors files in MB (10^6 bytes).
    """

    parameters: int
    parameters_without_embeddings: int
    flops_per_token: float
    checkpoint_mb: float


@dataclass(frozen=True)
class Speed:
    """Forward passes on this machine; reading texts, tokenizing and the search for answers are not in it.

    Attributes:
        latency_ms, latency_ms_p10, latency_ms_p90: median and percentiles over rows that are run one by one.
        throughput: rows per second at the best batch size (1 is always tried); a row is a text, in question answering
            a window.
        throughput_batch: batch size of `throughput`.
    """

    latency_ms: float
    latency_ms_p10: float
    latency_ms_p90: float
    throughput: float
    throughput_batch: int


def size(model: PreTrainedModel, task: Task, tokens: int, checkpoint: Path) -> Size:
    """Count a model.

    Args:
        tokens: length of the row by which FLOPs are counted; attention makes longer rows cost more per token.
        checkpoint: the model's folder.
    """
    tables = {id(part.weight): part.weight.numel() for part in model.modules() if isinstance(part, nn.Embedding)}
    total = sum(parameter.numel() for parameter in model.parameters())
    stored = sum(file.stat().st_size for file in checkpoint.glob("*.safetensors"))
    return Size(total, total - sum(tables.values()), flops_per_token(model, task, tokens), stored / 1e6)


def flops_per_token(model: PreTrainedModel, task: Task, tokens: int) -> float:
    """Floating-point operations of a forward pass by the number of tokens; a multiplication with its addition is two.

    Matrix products are counted (`torch.utils.flop_counter`), everything else is little beside them.

    Args:
        tokens: length of the one row that is run; it is not padded.
    """
    ids = torch.full((1, tokens), model.config.pad_token_id or 0, device=model.device)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    counter = FlopCounterMode(display=False)
    # The counter knows no fused attention on a CPU; the plain products are the same arithmetic.
    with torch.no_grad(), in_eval(model), sdpa_kernel(SDPBackend.MATH), counter:
        forward_pass(model, task, batch)
    return counter.get_total_flops() / tokens


def speeds(
    candidates: Mapping[str, PreTrainedModel],
    task: Task,
    features: Any,
    pad_token_id: int,
    section: Cost,
    say: Callable[[str], None] = print,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Speed]:
    """Time models on the same batches, in turns, so that other work on the machine slows all of them equally.

    Batches hold rows of similar length, as in evaluation; the batches that are run are spread evenly over the lengths.
    Throughput counts the median time of each batch.

    Args:
        candidates: frozen models by name, on the device that is measured.
        features: a `datasets.Dataset` of feature rows.
        section: batch sizes, seconds of each, precision.
        say: function for one line of text where a batch size is too large for a model; larger ones are not tried then.
        clock: seconds, for tests.

    Raises:
        UserError: not even one row fits in memory.
    """
    allocator.keep_freed()
    rows, collate = Rows(features, INPUTS), Collator(pad_token_id, ())
    forwards = {name: _forward(model, task, section.precision) for name, model in candidates.items()}
    latency: dict[str, np.ndarray] = {}
    throughput: dict[str, dict[int, float]] = {name: {} for name in candidates}

    def load(numbers: np.ndarray) -> Batch:
        batch = collate(rows.__getitems__(numbers.tolist()))
        return {name: value.to(default_device()) for name, value in batch.items()}

    for count in sorted({1, *(min(count, len(rows)) for count in section.batch_sizes)}):
        order = [batch for batch in length_order(rows.lengths, count) if len(batch) == count]
        longest = load(order[0])  # if these rows fit, all do
        if count == 1:
            gauge(forwards, longest, clock)  # the first pass of all sets things up
        slowest = gauge(forwards, longest, clock)
        for name in [name for name in forwards if name not in slowest]:
            if count == 1:
                raise UserError(f"{name}: one row does not fit in memory: free some, or lower features.max_length")
            say(f"{name}: batches of {count} do not fit in memory")
            del forwards[name]
        if not forwards:
            break
        least, most = _SINGLE if count == 1 else _LARGER
        number = min(max(int(section.seconds / max(*slowest.values(), 1e-9)), least), most)
        times = measure(forwards, [load(batch) for batch in spread(order, number)], section.seconds, clock)
        if count == 1:
            latency = times
        for name, durations in times.items():
            throughput[name][count] = rows_per_second(durations, count)
    return {name: _speed(latency[name], throughput[name]) for name in candidates}


def gauge(forwards: Mapping[str, Forward], batch: Batch, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds that each model takes for a batch; those for which it does not fit in memory are left out."""
    durations = {}
    for name, forward in forwards.items():
        began = clock()
        try:
            forward(batch)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
        else:
            durations[name] = clock() - began
    return durations


def measure(
    forwards: Mapping[str, Forward],
    batches: Sequence[Batch],
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    settle: Callable[[], object] | None = None,
) -> dict[str, np.ndarray]:
    """Run all batches again and again, the models in turns; a model drops out after its `seconds`.

    Args:
        settle: None: models of one library, which take turns at each batch. A pause: models of several libraries, whose
            threads go on waiting for work, and keep the cores busy, for some time after their last batch (a row by
            itself took PyTorch 73 ms after onnxruntime and OpenVINO, 11 ms alone). A turn is the pause, a batch that is
            not timed, and all batches again and again for `TURN`, or `seconds` where they are less.

    Returns:
        Seconds by model, float64, (rounds, batches).
    """
    durations: dict[str, list[float]] = {name: [] for name in forwards}
    running = dict(forwards)

    def run(name: str, batch: Batch) -> None:
        began = clock()
        running[name](batch)
        durations[name].append(clock() - began)

    while running:
        if settle is None:
            for batch in batches:
                for name in running:
                    run(name, batch)
        else:
            for name, forward in running.items():
                settle()
                forward(batches[0])
                end = clock() + min(TURN, seconds)
                while True:
                    for batch in batches:
                        run(name, batch)
                    if clock() >= end:
                        break
        running = {name: forward for name, forward in running.items() if sum(durations[name]) < seconds}
    return {name: np.reshape(times, (-1, len(batches))) for name, times in durations.items()}


def rows_per_second(durations: np.ndarray, count: int) -> float:
    """Throughput by the median time of each batch: seconds (rounds, batches) from `measure`, `count` rows a batch."""
    return count * durations.shape[1] / float(np.median(durations, axis=0).sum())


def spread(order: Sequence[Any], number: int) -> list[Any]:
    """`number` of the entries, evenly spaced: the middles of equal parts; all where there are not more."""
    if number >= len(order):
        return list(order)
    return [order[int((i + 0.5) * len(order) / number)] for i in range(number)]


def out_of_memory(error: BaseException) -> bool:
    """Whether the GPU, or the C library, had no memory left."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def machine() -> str:
    """The hardware: `cpu x86_64, 2 cores, AMD EPYC`, or the GPU's name and the processor's."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {processor()}"
    return f"cpu {platform.machine()}, {os.cpu_count()} cores, {processor()}"


def processor() -> str:
    """The processor's name; its architecture where the system does not name it."""
    path = Path("/proc/cpuinfo")
    match = (
        re.search(r"^model name\s*: (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        if path.exists()
        else None
    )
    return match[1].strip() if match else platform.processor() or platform.machine()


def _forward(model: PreTrainedModel, task: Task, precision: str) -> Forward:
    @torch.no_grad()
    def forward(batch: Batch) -> None:
        with autocast(model.device, precision):
            forward_pass(model, task, batch)
        if model.device.type == "cuda":
            torch.cuda.synchronize()  # launching a kernel returns before the kernel has ended

    return forward


def _speed(single: np.ndarray, throughput: Mapping[int, float]) -> Speed:
    median, low, high = (float(value) for value in 1000 * np.percentile(single, [50, 10, 90]))
    best = max(throughput, key=lambda count: throughput[count])
    return Speed(median, low, high, throughput[best], best)
