"""A model's outputs over feature rows, on disk: ragged, in shards, memory-mapped, in plain NumPy files.

A folder holds `offsets.npy`, int64 (rows + 1,): where each row's tokens begin; `meta.json`: what the outputs belong to,
and the arrays; and for each array a folder of shards, `logits/00000.npy`, `logits/00001.npy` and so on. An
array has one entry per real token or one per row, one after another without padding; a shard holds whole rows.
The arrays of a teacher are `logits`, its hidden states (`signals.states`) and, where rows have weights of their soft
targets, `weight`: float32, one per row, 0 where the teacher says nothing about the row.

`meta.json` has a hash of every file. A shard is compared with its own when it is first read, before any of its values
is used: a flipped bit would make another student, silently. That reads each shard once more, and only those in use.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from distill.errors import UserError
from distill.runtime import json_text
from distill.runtime.checkpoints import restore
from distill.runtime.files import file_hash, link_tree

# Large enough to be few, small enough to be copied and fetched one by one.
SHARD_BYTES = 1 << 29

#: The array of the weights of rows.
WEIGHT = "weight"
#: Array, one entry per row: how far the members of an ensemble are apart.
SPREAD = "spread"
# Keys of `meta.json` whose values must equal the run's, each with its name in error messages.
IDENTITY = {"data": "features", "tokenizer": "the tokenizer", "teacher": "the weights"}


@dataclass(frozen=True)
class Array:
    """One array of a cache.

    Attributes:
        width: values per entry.
        per_token: entries are real tokens; otherwise feature rows.
        dtype: `float32` or `float16`; readers get float32 either way.
    """

    width: int
    per_token: bool
    dtype: str = "float32"

    def entries(self, offsets: np.ndarray) -> np.ndarray:
        """Where each row's entries begin, int64 (rows + 1,)."""
        return offsets if self.per_token else np.arange(len(offsets))

    def size(self, offsets: np.ndarray) -> int:
        """Bytes of all entries."""
        return int(self.entries(offsets)[-1]) * self.width * np.dtype(self.dtype).itemsize

    def bounds(self, offsets: np.ndarray, shard_bytes: int) -> list[int]:
        """The first row of each shard, then the number of rows: shards of at most `shard_bytes`, or of one row."""
        entries = self.entries(offsets)
        most = max(1, shard_bytes // (self.width * np.dtype(self.dtype).itemsize))
        bounds = [0]
        while bounds[-1] < len(entries) - 1:
            end = int(np.searchsorted(entries, entries[bounds[-1]] + most, side="right")) - 1
            bounds.append(max(end, bounds[-1] + 1))
        return bounds


@dataclass
class _Shards:
    """The files of one array; each is mapped when it is first used."""

    folder: Path
    array: Array
    entries: np.ndarray
    bounds: list[int]
    mode: str
    hashes: list[str] | None = None
    maps: dict[int, np.ndarray] = field(default_factory=dict)

    def file(self, number: int) -> Path:
        return self.folder / f"{number:05}.npy"

    def shape(self, number: int) -> tuple[int, int]:
        first, last = self.bounds[number], self.bounds[number + 1]
        return int(self.entries[last] - self.entries[first]), self.array.width

    def create(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        for number in range(len(self.bounds) - 1):
            path = self.file(number)
            np.lib.format.open_memmap(path, mode="w+", dtype=self.array.dtype, shape=self.shape(number))
            # Where the disk has no room, writing into a memory map ends the process without a word (SIGBUS).
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)

    def check(self) -> None:
        """Raise a ValueError or OSError where a file is missing, cut off or of another shape."""
        for number in range(len(self.bounds) - 1):
            # Mode r+ would fill up a file that is cut off: r refuses it.
            try:
                stored = np.load(self.file(number), mmap_mode="r")
            except (ValueError, EOFError) as error:
                raise ValueError(f"{self.file(number)}: {error}") from error
            if stored.shape != self.shape(number) or stored.dtype != self.array.dtype:
                expected = f"{self.array.dtype} {self.shape(number)}"
                raise ValueError(f"{self.file(number)} holds {stored.dtype} {stored.shape}, expected {expected}")

    def of(self, row: int) -> np.ndarray:
        """The entries of a row: a view (n, width) of the mapped file."""
        number = int(np.searchsorted(self.bounds, row, side="right")) - 1
        if number not in self.maps:
            if self.hashes is not None and file_hash(self.file(number)) != self.hashes[number]:
                raise UserError(
                    f"{self.file(number)}: damaged: it does not have the content that was written (blake2b);"
                    f" {restore(self.folder.parent)}"
                )
            self.maps[number] = np.load(self.file(number), mmap_mode=self.mode)
        offset = self.entries[self.bounds[number]]
        return self.maps[number][self.entries[row] - offset : self.entries[row + 1] - offset]

    def digest(self) -> list[str]:
        """The hash of each file."""
        return [file_hash(self.file(number)) for number in range(len(self.bounds) - 1)]

    def flush(self) -> None:
        for mapped in self.maps.values():
            mapped.flush()


class Cache:
    """Read access; opened in constant memory.

    Attributes:
        meta: the content of meta.json.
        offsets: int64 (rows + 1,), where each row's tokens begin.
        arrays: the arrays by name.
    """

    def __init__(self, folder: Path, meta: dict, offsets: np.ndarray):
        self.meta, self.offsets = meta, offsets
        self.arrays: dict[str, Array] = {}
        self._shards: dict[str, _Shards] = {}
        for name, stored in meta["arrays"].items():
            array = Array(stored["width"], stored["per_token"], stored["dtype"])
            self.arrays[name] = array
            shards = _Shards(folder / name, array, array.entries(offsets), stored["bounds"], "r", stored["blake2b"])
            if len(shards.hashes) != len(shards.bounds) - 1:
                raise ValueError(f"{name}: {len(shards.hashes)} hashes for {len(shards.bounds) - 1} shards")
            self._shards[name] = shards

    @classmethod
    def open(cls, folder: Path, identity: Mapping[str, str], stage: str = "predict_teacher") -> Cache:
        """Map the files.

        Args:
            identity: content hashes that meta.json must have, of those in `IDENTITY`: the cache of other features (and
                so of another window), of another tokenizer or of another model is refused.
            stage: name of the stage that writes it, for error messages.

        Raises:
            UserError: files are missing, damaged, or belong to something else.
        """
        fix = f"run `dvc checkout {folder}` (in a fresh clone `dvc pull {folder}`), or `dvc repro {stage}`"
        try:
            meta = json_text.parse((folder / "meta.json").read_text(encoding="utf-8"))
            if not isinstance(meta, dict) or not all(isinstance(meta.get(name), str) for name in IDENTITY):
                raise ValueError("meta.json does not say what they belong to")
            cache = cls(folder, meta, np.load(folder / "offsets.npy"))
            if len(cache.offsets) != meta["rows"] + 1:
                raise ValueError(f"offsets.npy has {len(cache.offsets) - 1} rows, meta.json says {meta['rows']}")
            for shards in cache._shards.values():
                shards.check()
            if file_hash(folder / "offsets.npy") != meta["offsets_blake2b"]:
                raise ValueError("offsets.npy does not have the content that was written")
        except (OSError, ValueError, EOFError, KeyError, TypeError, IndexError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{folder}: the teacher's predictions cannot be read ({reason}): {fix}") from error
        for name, value in identity.items():
            if meta[name] != value:
                raise UserError(
                    f"{folder}/meta.json: the predictions belong to {IDENTITY[name]} {meta[name][:12]}, the run has"
                    f" {value[:12]}: run `dvc repro {stage}`"
                )
        return cache

    def column(self, name: str) -> np.ndarray:
        """All rows of an array with one entry per row, float32 (rows, width)."""
        return self.rows(name, list(range(len(self.offsets) - 1)), 0)

    def rows(self, name: str, indices: list[int], width: int) -> np.ndarray:
        """Entries of some rows, float32: (len(indices), width, C) with zeros behind each row's end, or (…, C).

        Args:
            width: tokens of the padded batch; ignored for arrays with one entry per row.
        """
        array, shards = self.arrays[name], self._shards[name]
        if not array.per_token:
            return np.concatenate([shards.of(row) for row in indices]).astype(np.float32, copy=False)
        batch = np.zeros((len(indices), width, array.width), np.float32)
        for i, row in enumerate(indices):
            values = shards.of(row)
            batch[i, : len(values)] = values
        return batch


class Writer:
    """Fills a cache in any order of rows, batch by batch; resumes a killed run.

    Several processes may fill one cache, each with batches of its own: the first process creates and
    finishes the files, and constructs its writer before the others.

    Args:
        folder: scratch folder of the files; the caller moves it into place when all is written.
        offsets: int64 (rows + 1,), where each row's tokens begin.
        arrays: arrays to write, by name.
        shard_bytes: largest size of a shard.
        part: (number of this process, from 0; number of processes).

    Attributes:
        done: batches of this part that were written before, 0 for a new cache.
    """

    def __init__(
        self,
        folder: Path,
        offsets: np.ndarray,
        arrays: Mapping[str, Array],
        shard_bytes: int = SHARD_BYTES,
        part: tuple[int, int] = (0, 1),
    ):
        self.folder, self.offsets, self.arrays, self.part = folder, offsets, dict(arrays), part
        self.done_file = folder / f"done-{part[0]}.json"
        folder.mkdir(parents=True, exist_ok=True)
        self._shards = {
            name: _Shards(folder / name, array, array.entries(offsets), array.bounds(offsets, shard_bytes), "r+")
            for name, array in self.arrays.items()
        }
        self.done = 0
        # Rebuild anything that cannot be resumed.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, EOFError):
            mark = json_text.parse(self.done_file.read_text(encoding="utf-8"))
            for shards in self._shards.values():
                shards.check()
            if mark["parts"] == part[1]:
                self.done = int(mark["batches"])
        if not self.done and part[0] == 0:
            for file in folder.glob("done-*.json"):
                file.unlink()  # a mark would count for the new files
            for shards in self._shards.values():
                shards.create()

    def write(self, rows: np.ndarray, values: Mapping[str, np.ndarray]) -> None:
        """Store a batch: for each array (B, L, C), of which the padding is left out, or (B, C)."""
        for name, batch in values.items():
            shards, half = self._shards[name], self.arrays[name].dtype == "float16"
            for row, entries in zip(rows, batch if self.arrays[name].per_token else batch[:, None], strict=True):
                stored = shards.of(row)
                with np.errstate(over="ignore"):
                    stored[:] = entries[: len(stored)]
                if half and np.isinf(stored).any() and np.isfinite(entries[: len(stored)]).all():
                    raise UserError(
                        f"params.yaml: cache.dtype: float16 ends at 65,504, and {name} of row {row} has"
                        f" {np.abs(entries[: len(stored)]).max():,.0f}: set it to float32"
                    )

    def mark(self, batches: int) -> None:
        """Make the first `batches` batches of this part durable."""
        self.flush()
        draft = self.done_file.with_suffix(".tmp")
        draft.write_text(json.dumps({"batches": batches, "parts": self.part[1]}), encoding="utf-8")
        draft.replace(self.done_file)

    def finish(self, meta: Mapping[str, object]) -> None:
        """Write offsets and meta data. For the first process, when all others are done.

        The marks stay, so that nothing is computed again after a kill; `complete` removes them.
        """
        self.flush()
        np.save(self.folder / "offsets.npy", self.offsets)
        arrays = {
            name: asdict(array) | {"bounds": self._shards[name].bounds, "blake2b": self._shards[name].digest()}
            for name, array in self.arrays.items()
        }
        content = {**meta, "rows": len(self.offsets) - 1, "tokens": int(self.offsets[-1]), "arrays": arrays}
        content["offsets_blake2b"] = file_hash(self.folder / "offsets.npy")
        (self.folder / "meta.json").write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def flush(self) -> None:
        """Hand everything that was written to the files."""
        for shards in self._shards.values():
            shards.flush()


def link_arrays(source: Path, target: Path, names: Iterable[str]) -> None:
    """Make a cache of some arrays of another cache, by hard links.

    Args:
        source: folder of a complete cache.
        target: folder to make.
        names: arrays of `source`.
    """
    meta = json_text.parse((source / "meta.json").read_text(encoding="utf-8"))
    names = sorted(names)
    for name in names:
        link_tree(source / name, target / name)
    target.mkdir(parents=True, exist_ok=True)
    link_tree(source / "offsets.npy", target / "offsets.npy")
    content = meta | {"arrays": {name: meta["arrays"][name] for name in names}}
    (target / "meta.json").write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def complete(folder: Path) -> Path:
    """Remove the marks that resuming needs, just before the folder is moved into place; returns the folder."""
    for file in folder.glob("done-*.json"):
        file.unlink()
    return folder
