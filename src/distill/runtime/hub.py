"""Commits of the Hugging Face hub: which one a branch stands for today; whether what came of it is whole; what failed.

What is remembered between runs lies in the part of the hub's cache for other libraries (HF_ASSETS_CACHE).
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from distill.errors import UserError
from distill.runtime import hub_errors

#: A whole commit of the hub.
COMMIT = re.compile(r"[0-9a-f]{40}")
Kind = Literal["model", "dataset"]
# What transformers says where it found no weights, for whatever reason.
_NO_FILE = "does not appear to have"


def commit(name: str, revision: str | None, kind: Kind, field: str) -> str:
    """The commit that a revision stands for: 40 hex digits.

    The hub is asked; where it cannot be reached (or HF_HUB_OFFLINE is set), the commit that was last downloaded counts.

    Args:
        name: Id of the repository, `microsoft/deberta-v3-base`.
        revision: Branch, tag or commit; None: `main`. A whole commit is given back as it is.
        kind: Kind of repository.
        field: Parameter that names it, for errors.

    Raises:
        UserError: The hub has no such repository or revision or does not give it to this user; or it cannot be
            reached and nothing was downloaded before.
    """
    if revision and COMMIT.fullmatch(revision):
        return revision
    where = f"params.yaml: {field}: {name!r}"
    try:
        sha = _ask(name, revision, kind)
    except Exception as error:
        trouble = hub_errors.explain(error, name, revision, kind)
        if trouble and trouble.final:
            raise UserError(f"{where}: {trouble.what}: {trouble.fix}") from None
        if cached := downloaded(name, revision, kind):  # offline
            return cached
        what = trouble.what if trouble else hub_errors.line(error)
        fix = f"correct it, go online, or {trouble.fix}" if trouble else "correct it, or go online"
        raise UserError(
            f"{where}: no such folder here, not downloaded before, and the hub cannot be asked ({what}): {fix}"
        ) from None
    with contextlib.suppress(OSError):  # a cache that cannot be written: offline, it is not known then
        _record(name, kind, revision).write_text(sha, encoding="ascii")
    return sha


def _ask(name: str, revision: str | None, kind: Kind) -> str:
    """The commit, as the hub says; its client's errors where it does not, or does not let this user read the files."""
    from huggingface_hub import HfApi, constants  # slow to import: only where something is looked up

    info = HfApi().repo_info(name, revision=revision, repo_type=kind, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    if getattr(info, "gated", False):  # everyone may read this much of it
        HfApi().auth_check(name, repo_type=kind)
    return info.sha


def explain(error: Exception, name: str, revision: str | None, kind: Kind) -> hub_errors.Trouble | None:
    """Why something could not be loaded from the hub; None: the hub is not to blame, or `name` is a folder here.

    `transformers` and `datasets` drop some of the hub's answers on their way. Then the hub is asked once more.
    """
    if Path(name).exists():
        return None
    if trouble := hub_errors.explain(error, name, revision, kind):
        return trouble
    try:
        _ask(name, revision, kind)
    except Exception as answer:  # each HTTP library has errors of its own
        trouble = hub_errors.explain(answer, name, revision, kind)
        # A checkpoint that is here and broken is no matter of the network.
        missed = isinstance(error, ConnectionError) or _NO_FILE in str(error)
        return trouble if trouble and (trouble.final or missed) else None
    return None


def downloaded(name: str, revision: str | None, kind: str) -> str | None:
    """The commit of a revision as it was last downloaded; None: never.

    The hub's libraries note it where they download a branch. Stages download the commit, and `commit` notes which
    branch that was.
    """
    folder = _folder(name, kind)
    dated = []
    for file in (folder / "refs" / (revision or "main"), _record(name, kind, revision)):
        with contextlib.suppress(OSError, ValueError):
            text = file.read_text(encoding="ascii").strip()
            by_library = file.is_relative_to(folder)
            if COMMIT.fullmatch(text) and (by_library or (folder / "snapshots" / text).is_dir()):
                dated.append((file.stat().st_mtime, text))
    return max(dated)[1] if dated else None


@contextlib.contextmanager
def reading(name: str, revision: str | None, kind: Kind, field: str = "") -> Iterator[None]:
    """What is read inside the `with` block comes from the hub, where `name` is no folder here; else it does nothing.

    Args:
        field: Parameter that names it, for errors; empty: no parameter does.

    Raises:
        UserError: The hub did not give it, or what it gave is damaged (`verify`). Other errors pass.
    """
    if Path(name).exists():
        yield
        return
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        verify(name, revision, kind, field)
        if trouble := explain(error, name, revision, kind):
            raise UserError(f"{_place(name, revision, field)}: {trouble.what}: {trouble.fix}") from error
        raise
    verify(name, revision, kind, field)


def verify(name: str, revision: str | None, kind: Kind, field: str = "") -> None:
    """Compare the downloaded files of a revision with their hashes; remove those that differ.

    The hub's client looks at the size of a download, not at its content, and never again. Its cache names each file by
    its hash: sha256 of a large one, that of a Git blob of another. A file is hashed once, and again when its time or
    size changes. Where the cache has no links (Windows), the hashes are not known, and nothing is compared.

    Raises:
        UserError: A file is damaged. It is removed, so that the next run downloads it again.
    """
    if Path(name).exists():
        return
    commit_ = revision if revision and COMMIT.fullmatch(revision) else downloaded(name, revision, kind)
    snapshot = _folder(name, kind) / "snapshots" / (commit_ or "none")
    damaged = []
    for link in sorted(path for path in snapshot.rglob("*") if path.is_symlink() and path.is_file()):
        if not _whole(blob := link.resolve(), name, kind):
            blob.unlink()
            link.unlink()
            damaged.append(link.relative_to(snapshot).as_posix())
    if damaged:
        raise UserError(
            f"{_place(name, revision, field)}: {', '.join(damaged)} came damaged from the hub (its hash is another):"
            " removed; run the same command again, which downloads it anew"
        )


def _whole(blob: Path, name: str, kind: str) -> bool:
    """Whether a file of the cache has the hash that is its name; True where its name is none."""
    if not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", blob.name):
        return True
    status = blob.stat()
    state = f"{status.st_size} {status.st_mtime_ns}"
    mark = _assets(name, kind, "verified") / blob.name
    with contextlib.suppress(OSError):
        if mark.read_text(encoding="ascii") == state:
            return True
    if len(blob.name) == 64:
        hashes = {_hash(blob, "sha256")}
    else:  # the plain sha1 is what some mirrors give
        hashes = {_hash(blob, "sha1", b"blob %d\0" % status.st_size), _hash(blob, "sha1")}
    if blob.name not in hashes:
        return False
    with contextlib.suppress(OSError):  # a cache that cannot be written: it is hashed each time
        mark.write_text(state, encoding="ascii")
    return True


def _hash(file: Path, method: str, before: bytes = b"") -> str:
    digest = hashlib.new(method, before)
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _place(name: str, revision: str | None, field: str) -> str:
    at = f" (revision {revision})" if revision else ""
    return f"params.yaml: {field}: {name!r}{at}" if field else f"{name!r}{at}"


def _folder(name: str, kind: str) -> Path:
    """The folder of a repository in the hub's cache."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type=kind)


def _assets(name: str, kind: str, what: str) -> Path:
    """A folder of this project for a repository, made where it can be."""
    from huggingface_hub import cached_assets_path, constants

    place = Path(constants.HF_ASSETS_CACHE)
    return cached_assets_path("distill", f"{kind}s/{name}", what, assets_dir=place)


def _record(name: str, kind: str, revision: str | None) -> Path:
    """The file that says which commit a branch was when the hub was last asked."""
    return _assets(name, kind, "refs") / quote(revision or "main", safe="")
