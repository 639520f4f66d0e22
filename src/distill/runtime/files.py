"""Files and folders that are never half-written, and their hashes."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


def publish(source: Path, target: Path) -> None:
    """Moves a finished file or folder to its place, replacing what is there.

    The target is never half-written: what is there stays until the new content lies beside it, whole. Where renaming
    is impossible (another filesystem) the content is copied first.

    Args:
        source: Finished file or folder. It is gone afterwards.
        target: Its place. Missing parent folders are made.

    Raises:
        OSError: The disk is full, or a folder cannot be written; the old target is then still in place.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    new = draft_of(target)
    old = target.with_name(f".{target.name}.old")
    _remove(new)  # left by a process that was killed in here
    try:
        _move_or_copy(source, new)
        if target.is_dir() and not target.is_symlink():
            _remove(old)
            os.rename(target, old)  # a folder cannot be renamed onto one that has content
        try:
            os.rename(new, target)
        except OSError:
            if old.exists() and not target.exists():
                os.rename(old, target)
            raise
    except BaseException:
        if source.exists():
            _remove(new)
        elif new.exists():
            os.rename(new, source)
        raise
    _sync_folder(target.parent)
    _remove(old)
    _remove(source)


def tree_hash(path: Path) -> str:
    """Hashes a file's bytes, or the relative names and bytes of all files in a folder (32 hex digits).

    Reads in pieces, follows links (DVC's cache may use them) and skips `__pycache__`.

    Raises:
        FileNotFoundError: There is nothing at `path`.
    """
    if not path.is_dir():
        return file_hash(path)
    total = hashlib.blake2b(digest_size=16)
    for name, file in files_below(path):
        total.update(f"{name}\0{file_hash(file)}\n".encode())
    return total.hexdigest()


def write_text(path: Path, text: str) -> None:
    """Writes a text file (UTF-8) in one step: readers see the old content or the new, never a part.

    Replaces the file instead of writing into it, so a file linked to DVC's cache does not change the cache.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = draft_of(path)
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def draft_of(path: Path) -> Path:
    """Where what `write_text` and `publish` put in place is before; a process that is killed there leaves it behind."""
    return path.with_name(f".{path.name}.new")


def files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yields (relative POSIX name, path) of all files below a folder, in the order of their names."""
    found = []
    for parent, folders, names in os.walk(folder):  # Path.rglob takes three times as long
        folders[:] = [name for name in folders if name != "__pycache__"]
        below = Path(parent)
        prefix = "" if below == folder else f"{below.relative_to(folder).as_posix()}/"
        found += [(prefix + name, below / name) for name in names]
    yield from sorted((name, file) for name, file in found if file.is_file())


def file_hash(file: Path) -> str:
    """Hashes a file's bytes (blake2b, 32 hex digits)."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _move_or_copy(source: Path, target: Path) -> None:
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link_tree(source: Path, target: Path) -> None:
    """Gives a file or folder a second name without copying it: hard links, or copies where links are impossible.

    Args:
        source: File or folder; links in it (DVC's cache may use them) are followed.
        target: Its second name; must not exist. Missing parent folders are made.
    """
    if source.is_dir():
        target.mkdir(parents=True)
        for name, file in files_below(source):
            link_tree(file, target / name)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        shutil.copyfile(source, target)
