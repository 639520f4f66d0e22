"""Caches of a model's outputs, written for tests as the stages write them."""

from pathlib import Path

import numpy as np

from distill.signals.cache import Array, Cache, Writer, complete

IDENTITY = {"data": "a" * 32, "tokenizer": "b" * 32, "teacher": "c" * 32}


def write(folder: Path, lengths, values, shard_bytes: int = 1 << 20) -> Cache:
    """Arrays by name, padded: (rows, L, C) with an entry per token, (rows, C) with one per row; opened for reading."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    arrays = {name: Array(value.shape[-1], value.ndim == 3) for name, value in values.items()}
    writer = Writer(folder, offsets, arrays, shard_bytes)
    writer.write(np.arange(len(lengths)), values)
    writer.finish({"task": "qa", "precision": "fp32", **IDENTITY})
    complete(folder)
    return Cache.open(folder, IDENTITY)
