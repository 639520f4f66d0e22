"""The weights of a module in a file."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn


def save_weights(model: nn.Module, path: Path) -> None:
    """All of the module's weights; those that share memory are written once per name, as safetensors demands."""
    weights = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    save_file({name: value.clone(memory_format=torch.contiguous_format) for name, value in weights.items()}, path)


def load_weights(model: nn.Module, path: Path) -> None:
    """What `save_weights` wrote."""
    model.load_state_dict(load_file(path))
