"""What lies in the cache of the Hugging Face hub: whether it is what the hub has.

What is remembered of it between runs lies in the part of the cache for other libraries (HF_ASSETS_CACHE).
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from pathlib import Path

from distill.errors import UserError


def verify(name: str, commit: str | None, kind: str, field: str = "") -> None:
    """Compare the downloaded files of a commit with their hashes; remove those that differ.

    The hub's client looks at the size of a download, not at its content, and never again. Its cache names each file by
    its hash: sha256 of a large one, that of a Git blob of another. A file is hashed once, and again when its time or
    size changes. Where the cache has no links (Windows), the hashes are not known, and nothing is compared.

    Args:
        commit: 40 hex digits; None: nothing was downloaded.
        field: Parameter that names the repository, for errors.

    Raises:
        UserError: A file is damaged. It is removed, so that the next run downloads it again.
    """
    snapshot = folder(name, kind) / "snapshots" / (commit or "none")
    damaged = []
    for link in sorted(path for path in snapshot.rglob("*") if path.is_symlink() and path.is_file()):
        blob = (
            link.parent / link.readlink()
        )  # no further: it may be a link itself, to a store that names files otherwise
        if not _whole(blob, name, kind):
            for path in (blob.resolve(), blob, link):
                path.unlink(missing_ok=True)
            damaged.append(link.relative_to(snapshot).as_posix())
    if damaged:
        raise UserError(
            f"{place(name, commit, field)}: {', '.join(damaged)} came damaged from the hub (its hash is another):"
            " removed; run the same command again, which downloads it anew"
        )


def _whole(blob: Path, name: str, kind: str) -> bool:
    """Whether a file of the cache has the hash that is its name; True where its name is none."""
    if not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", blob.name):
        return True
    status = blob.stat()
    state = f"{status.st_size} {status.st_mtime_ns}"
    mark = note_of(name, kind, "verified", blob.name)
    with contextlib.suppress(OSError):
        if mark.read_text(encoding="ascii") == state:
            return True
    if len(blob.name) == 64:
        hashes = {_hash(blob, "sha256")}
    else:  # the plain sha1 is what some mirrors give
        hashes = {_hash(blob, "sha1", b"blob %d\0" % status.st_size), _hash(blob, "sha1")}
    if blob.name not in hashes:
        return False
    note(mark, state)
    return True


def _hash(file: Path, method: str, before: bytes = b"") -> str:
    digest = hashlib.new(method, before)
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def place(name: str, revision: str | None, field: str) -> str:
    at = f" (revision {revision})" if revision else ""
    return f"params.yaml: {field}: {name!r}{at}" if field else f"{name!r}{at}"


def folder(name: str, kind: str) -> Path:
    """The folder of a repository in the hub's cache."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type=kind)


def note_of(name: str, kind: str, *parts: str) -> Path:
    """The file of a note on a repository."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_ASSETS_CACHE, "distill", repo_folder_name(repo_id=name, repo_type=kind), *parts)


def note(file: Path, text: str) -> None:
    """Write a note; in a cache that cannot be written there is none, and what it says is found out again."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="ascii")
