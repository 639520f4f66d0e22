"""Teacher logits over the training features: ragged, memory-mapped, in plain NumPy files.

`logits.npy` (tokens, 2) float32 holds the rows one after another without padding, `offsets.npy` (rows + 1,) int64
where each begins, `meta.json` what they belong to.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import numpy as np

from distill.errors import UserError


class LogitCache:
    """Read access; opened in constant memory."""

    def __init__(self, logits: np.ndarray, offsets: np.ndarray, meta: dict):
        self.logits, self.offsets, self.meta = logits, offsets, meta

    @classmethod
    def open(cls, folder: Path, data: str, stage: str = "predict_teacher") -> LogitCache:
        """Map the files.

        Args:
            data: content hash of the training features; the cache of any other data is refused.
            stage: that which writes it, for error messages.

        Raises:
            UserError: files are missing, damaged, or belong to other data.
        """
        fix = f"run `dvc checkout {folder}`, or `dvc repro {stage}`"
        try:
            meta = json.loads((folder / "meta.json").read_text())
            if not isinstance(meta, dict) or not isinstance(meta.get("data"), str):
                raise ValueError("meta.json does not say which data they belong to")
            offsets = np.load(folder / "offsets.npy")
            logits = np.load(folder / "logits.npy", mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{folder}: the teacher's predictions cannot be read ({error}): {fix}") from error
        if len(logits) != offsets[-1]:
            raise UserError(f"{folder}/logits.npy: {len(logits)} tokens, offsets.npy says {offsets[-1]}: {fix}")
        if meta["data"] != data:
            raise UserError(
                f"{folder}/meta.json: the predictions belong to features {meta['data'][:12]}, the run trains on"
                f" {data[:12]}: run `dvc repro {stage}`"
            )
        return cls(logits, offsets, meta)

    def rows(self, indices: list[int], width: int) -> np.ndarray:
        """Logits (len(indices), width, 2), zeros behind each row's end."""
        batch = np.zeros((len(indices), width, *self.logits.shape[1:]), np.float32)
        for i, row in enumerate(indices):
            start, end = self.offsets[row], self.offsets[row + 1]
            batch[i, : end - start] = self.logits[start:end]
        return batch


class LogitWriter:
    """Fills a cache in any order of rows, batch by batch; goes on where a killed run had come to.

    Args:
        folder: where the files grow; not the final place, that is moved to when all is done.
        offsets: (rows + 1,) int64.
        channels: values per token.
    """

    def __init__(self, folder: Path, offsets: np.ndarray, channels: int):
        self.folder = folder
        self.done_file = folder / "done.json"
        folder.mkdir(parents=True, exist_ok=True)
        path, shape = folder / "logits.npy", (int(offsets[-1]), channels)
        self.offsets = offsets
        self.done = 0
        # Whatever cannot be gone on from is begun anew.
        # Whatever cannot be gone on from is begun anew. Mode r+ would fill up a file that is cut off: r refuses it.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            done = int(json.loads(self.done_file.read_text())["batches"])
            if np.load(path, mmap_mode="r").shape == shape:
                self.logits = np.lib.format.open_memmap(path, mode="r+")
                self.done = done
        if not self.done:
            self.done_file.unlink(missing_ok=True)  # it would count for the new file
            self.logits = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
            # Where the disk has no room, writing into a memory map ends the process without a word (SIGBUS).
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)

    def write(self, rows: np.ndarray, logits: np.ndarray) -> None:
        """Store padded logits (B, L, channels) of feature rows `rows`."""
        for row, values in zip(rows, logits, strict=True):
            start, end = self.offsets[row], self.offsets[row + 1]
            self.logits[start:end] = values[: end - start]

    def mark(self, batches: int) -> None:
        """Make the first `batches` batches durable."""
        self.logits.flush()
        draft = self.done_file.with_suffix(".tmp")
        draft.write_text(json.dumps({"batches": batches}))
        draft.replace(self.done_file)

    def finish(self, meta: dict) -> None:
        """Write offsets and meta data; the folder is then complete."""
        self.logits.flush()
        np.save(self.folder / "offsets.npy", self.offsets)
        (self.folder / "meta.json").write_text(json.dumps(meta, indent=2, sort_keys=True) + "\n")
        self.done_file.unlink(missing_ok=True)
