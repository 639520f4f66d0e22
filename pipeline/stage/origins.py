"""What the names in params.yaml stand for, as stage inputs has written it down: data/inputs/<role>.json.

    {"teacher.model.path": {"name": "models/mine", "content": "3f2a…"}}
    {"student.model.path": {"name": "microsoft/deberta-v3-xsmall", "commit": "5a1b…"}}

A stage that reads a folder of the user's depends on the file of its role. So DVC runs it again when the folder's
content changes, and the stage itself refuses a folder that has changed since.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, TypeAdapter

from distill.config.params import Params
from distill.config.references import ROLES, with_commits
from distill.runtime import json_files

FOLDER = Path("data/inputs")


#: What a name stands for: `name`, and `content` (of a folder or file here) or `commit` (of the hub).
Entry = dict[str, str]


def _named(entry: Entry) -> Entry:
    if "name" not in entry:
        raise ValueError("expected a name")
    return entry


_ENTRIES = TypeAdapter(dict[str, Annotated[Entry, AfterValidator(_named)]])


def file(role: str) -> Path:
    """The file of a role of `distill.config.references`."""
    return FOLDER / f"{role}.json"


def read(role: str) -> dict[str, Entry]:
    """What a role's parameters stand for; empty where stage inputs has not run.

    Raises:
        UserError: The file is damaged.
    """
    path = file(role)
    return json_files.read(path, "delete it and run `dvc repro inputs`", _ENTRIES) if path.exists() else {}


def pinned(params: Params) -> Params:
    """The parameters with the commits of the hub that stage inputs has looked up, in place of branches."""
    named = {field: entry for role in ROLES for field, entry in read(role).items()}
    return with_commits(params, {field: entry["commit"] for field, entry in named.items() if "commit" in entry})


def folders(deps: Iterable[Path]) -> dict[str, tuple[Path, str]]:
    """Folders and files of the user's that a stage with these dependencies reads: parameter → (path, its content)."""
    entries = [item for role in ROLES if file(role) in deps for item in read(role).items()]
    return {field: (Path(entry["name"]), entry["content"]) for field, entry in entries if "content" in entry}
