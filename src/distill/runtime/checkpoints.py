"""Checkpoints that are whole or do not count, and folders that appear in one step.

A checkpoint is complete once `seal` has written its manifest, the last file to be written. A process killed at any
point before leaves a folder without one; a file cut off or damaged later no longer agrees with it. Both are removed by
`last_complete`, so that training goes on from the newest checkpoint that can be trusted.
"""

import hashlib
import json
import re
import shutil
from pathlib import Path, PurePosixPath

import numpy as np

from distill.errors import UserError
from distill.runtime import json_text
from distill.runtime.files import draft_of, file_hash, files_below, write_text

#: What makes a training's checkpoint complete, and what an output's files are compared with when it is read.
MANIFEST, CHECKSUMS = "complete.json", "checksums.json"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def seal(checkpoint: Path, manifest: str = MANIFEST) -> None:
    """Declares a checkpoint complete: writes the size and hash of each of its files, atomically and last.

    Drafts of manifests that a killed process has left there are removed: a manifest that named one would name a file
    that is gone as soon as it is written itself, and what it seals would never count as complete.

    Args:
        checkpoint: Folder whose files are all written and closed.
        manifest: Name of the file to write; `CHECKSUMS` in an output of a stage.
    """
    for name in (MANIFEST, CHECKSUMS):
        draft_of(checkpoint / name).unlink(missing_ok=True)
    files = {
        name: {"bytes": file.stat().st_size, "blake2b": file_hash(file)}
        for name, file in files_below(checkpoint)
        if name != manifest
    }
    write_text(checkpoint / manifest, json.dumps({"files": files}, indent=2) + "\n")


def fault(checkpoint: Path, manifest: str = MANIFEST) -> str | None:
    """Says why a checkpoint cannot be used: None where every file agrees with the manifest.

    Files that the manifest does not name are ignored.
    """
    try:
        files = json_text.parse((checkpoint / manifest).read_text(encoding="utf-8"))["files"]
        entries = [(str(name), int(entry["bytes"]), str(entry["blake2b"])) for name, entry in files.items()]
    except FileNotFoundError:
        return "it was not written to its end" if manifest == MANIFEST else f"{manifest} is missing"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{manifest} is damaged"
    for name, size, content in entries:
        file = checkpoint / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size:,} bytes instead of {size:,}"
        if file_hash(file) != content:
            return f"{name} does not have the content that was written"
    return None


def is_complete(checkpoint: Path) -> bool:
    """Whether every file of the checkpoint agrees with its manifest."""
    return fault(checkpoint) is None


def last_complete(folder: Path) -> Path | None:
    """Finds the newest `checkpoint-<step>` that can be trusted, and removes newer ones that cannot.

    Prints one line for each removal: why, and what is used instead.

    Args:
        folder: Folder of checkpoints; it may be missing.

    Returns:
        The checkpoint's folder, or None where training starts from the beginning.
    """
    numbered = [(int(match[1]), path) for path in folder.glob("*") if (match := _step(path))]
    removed: list[tuple[Path, str]] = []
    last = None
    for _, path in sorted(numbered, reverse=True):
        reason = fault(path)
        if reason is None:
            last = path
            break
        removed.append((path, reason))
        shutil.rmtree(path)
    instead = f"going on from {last.name}" if last else "starting from the beginning"
    for path, reason in removed:
        print(f"{path.name} cannot be used ({reason}): removed; {instead}", flush=True)
    return last


def load_check(folder: Path) -> None:
    """Refuses a model folder that a stage has made and whose files are not as they were written.

    Opens the safetensors header, which states how many bytes must follow, and compares every file with the hash that
    was stored with it: a flipped bit would make another student, silently.

    Raises:
        UserError: The folder, its config.json or its weights are missing, truncated or corrupted.
    """
    fix = f"restore it with `dvc checkout {folder}`, or rerun the stage that makes it"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such model folder; {fix}")
    _read_object(folder / "config.json", fix)
    names = ["model.safetensors"]
    if (folder / "model.safetensors.index.json").is_file():
        names = check_index(folder, fix)
    for name in names:
        _check_weights(folder / name, fix)
    if (problem := fault(folder, CHECKSUMS)) is not None:
        raise UserError(f"{folder}: damaged: {problem}; {restore(folder)}")


def check_index(folder: Path, fix: str) -> list[str]:
    """The shards that the indices of a checkpoint name: none where it has no index.

    Raises:
        UserError: An index is damaged, or names anything else than a file beside it: transformers would open that.
    """
    shards: set[str] = set()
    for name in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        index = folder / name
        if not index.is_file():
            continue
        names = _read_object(index, fix).get("weight_map")
        if not isinstance(names, dict) or not names:
            raise UserError(f"{index}: corrupted (no weight_map); {fix}")
        for tensor, shard in names.items():
            if not isinstance(shard, str) or shard in ("", "..") or shard != PurePosixPath(shard).name:
                raise UserError(f"{index}: weight_map: {tensor}: {shard!r}: no name of a file beside it; {fix}")
        shards |= set(names.values())
    return sorted(shards)


def _check_weights(file: Path, fix: str) -> None:
    # Imported here: every stage imports this module, few of them need safetensors.
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        if (file.parent / "pytorch_model.bin").is_file():
            fix = "only pytorch_model.bin is there: convert it with save_pretrained of transformers"
        raise UserError(f"{file}: missing; {fix}")
    with file.open("rb") as stream:
        if stream.read(24) == b"version https://git-lfs.":
            raise UserError(f"{file}: a Git LFS pointer, not the weights; fetch them with `git lfs pull`")
    try:
        with safe_open(file, framework="np"):
            pass
    except SafetensorError as error:
        size = file.stat().st_size
        raise UserError(f"{file}: truncated or corrupted ({size:,} bytes; {error}); {fix}") from error


def _read_object(file: Path, fix: str) -> dict:
    try:
        content = json_text.parse(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{file}: missing; {fix}") from error
    except ValueError as error:
        raise UserError(f"{file}: truncated or corrupted ({error}); {fix}") from error
    if not isinstance(content, dict):
        raise UserError(f"{file}: corrupted (not a JSON object); {fix}")
    return content


def restore(path: Path) -> str:
    """The fix for an output whose bytes have changed: DVC goes by the file's time, and sees nothing to do."""
    return f"delete {path}, then run `dvc checkout {path}`, or `dvc repro --force` with the stage that makes it"


def _step(path: Path) -> re.Match[str] | None:
    return _CHECKPOINT.fullmatch(path.name) if path.is_dir() else None


def tensor_hashes(folder: Path) -> dict[str, str]:
    """The hash of each tensor (as float32) of a checkpoint that a stage has made; no model is built."""
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="np") as file:
        return {name: tensor_hash(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 (the handle is no mapping)


def tensor_hash(values: np.ndarray) -> str:
    """The hash of an array's values as float32 (32 hex digits)."""
    return hashlib.blake2b(np.ascontiguousarray(values, np.float32).tobytes(), digest_size=16).hexdigest()
