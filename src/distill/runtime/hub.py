"""Commits of the Hugging Face hub: which one a branch stands for today; and reading one, or saying what failed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from distill.errors import UserError
from distill.runtime import hub_errors, hub_files

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
    hub_files.note(_asked(name, kind, revision) / sha, sha)
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
    folder = hub_files.folder(name, kind)
    asked = [file for file in _asked(name, kind, revision).glob("*") if (folder / "snapshots" / file.name).is_dir()]
    dated = []
    for file in (folder / "refs" / (revision or "main"), *asked):
        with contextlib.suppress(OSError, ValueError):  # the library has noted none, or something else
            if COMMIT.fullmatch(text := file.read_text(encoding="ascii").strip()):
                dated.append((file.stat().st_mtime, text))
    return max(dated)[1] if dated else None


@contextlib.contextmanager
def reading(name: str, revision: str | None, kind: Kind, field: str = "") -> Iterator[None]:
    """What is read inside the `with` block comes from the hub, where `name` is no folder here; else it does nothing.

    Args:
        field: Parameter that names it, for errors; empty: no parameter does.

    Raises:
        UserError: The hub did not give it, or what it gave is damaged (`hub_files.verify`). Other errors pass.
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
            raise UserError(f"{hub_files.place(name, revision, field)}: {trouble.what}: {trouble.fix}") from error
        raise
    verify(name, revision, kind, field)


def verify(name: str, revision: str | None, kind: Kind, field: str = "") -> None:
    """`hub_files.verify` of the commit that a revision is, or was when it was downloaded; nothing for a folder here."""
    if Path(name).exists():
        return
    known = revision if revision and COMMIT.fullmatch(revision) else downloaded(name, revision, kind)
    hub_files.verify(name, known, kind, field)


def _asked(name: str, kind: str, revision: str | None) -> Path:
    """A folder with a file for each commit that a revision was when the hub was asked, as old as the answer."""
    return hub_files.note_of(name, kind, "refs", quote(revision or "main", safe=""))
