"""What the benchmark runs on."""

from __future__ import annotations

import platform

import psutil
import torch

from benchmarks.report import Machine
from distill.analysis import model_cost

# Dense bfloat16 operations per second that the makers state, by a part of the device's name.
PEAKS = {
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "H200": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10G": 70e12,
}


def describe() -> Machine:
    """This machine, with the device and the number of threads that torch uses."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return Machine(
        processor=model_cost.processor(),
        device=device,
        threads=torch.get_num_threads(),
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.machine()}",
    )


def peak() -> float | None:
    """The device's dense bfloat16 operations per second, None where it is not listed."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return next((value for part, value in PEAKS.items() if part in name), None)


def forward_operations(config: object, tokens: float, squares: float) -> float:
    """Floating-point operations of an encoder's forward pass on rows of real tokens (a multiply-add counts as two).

    Per layer 2 · tokens · (4 d² + 2 d · ff) for the linear maps and 4 · d · Σ length² for attention scores and their
    use; embeddings, norms and the head are left out, as is DeBERTa's attention to positions. Training takes three
    times as much (Kaplan et al. 2020, section 2.1).

    Args:
        config: of transformers, with hidden_size, intermediate_size and num_hidden_layers.
        tokens: Σ length of the rows.
        squares: Σ length² of the rows.
    """
    width, inner = config.hidden_size, config.intermediate_size
    return config.num_hidden_layers * (2 * tokens * (4 * width**2 + 2 * width * inner) + 4 * width * squares)
