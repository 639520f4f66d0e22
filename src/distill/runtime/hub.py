"""Commits of the Hugging Face hub: which one a branch stands for today."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from distill.errors import UserError

#: A whole commit of the hub.
COMMIT = re.compile(r"[0-9a-f]{40}")
_TIMEOUT = 10.0  # seconds


def commit(name: str, revision: str | None, kind: Literal["model", "dataset"], field: str) -> str:
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
    # Slow to import: only where something is looked up.
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"params.yaml: {field}: {name!r}"
    try:
        return HfApi().repo_info(name, revision=revision, repo_type=kind, timeout=_TIMEOUT).sha
    except HFValidationError:
        raise UserError(f"{where}: no such folder, and no id of the hub (user/name): correct it") from None
    except GatedRepoError:
        raise UserError(
            f"{where}: the hub asks for consent to its terms: give it there, then `hf auth login`"
        ) from None
    except RevisionNotFoundError:
        raise UserError(f"{where}: the hub has it, but not at revision {revision!r}: correct the revision") from None
    except RepositoryNotFoundError:
        fix = "correct it; a private one needs `hf auth login`"
        raise UserError(f"{where}: no such folder here, and no such {kind} on the hub: {fix}") from None
    except Exception as error:  # offline; each HTTP library (requests, httpx …) has errors of its own for it
        if cached := downloaded(name, revision, kind):
            return cached
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{where}: no such folder here, not downloaded before, and the hub cannot be asked ({reason}):"
            " correct it, or go online"
        ) from None


def downloaded(name: str, revision: str | None, kind: str) -> str | None:
    """The commit of a revision as it was last downloaded; None: never."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type=kind)
    try:
        text = (folder / "refs" / (revision or "main")).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return text if COMMIT.fullmatch(text) else None
