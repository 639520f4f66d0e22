"""What the names in params.yaml stand for, as stage inputs has written it down: data/inputs/<role>.json.

    {"teacher.model.path": {"name": "models/mine", "content": "3f2a…"}}
    {"student.model.path": {"name": "microsoft/deberta-v3-xsmall", "commit": "5a1b…"}}

A stage that reads a folder of the user's depends on the file of its role. So DVC runs it again when the folder's
content changes, and the stage itself refuses a folder that has changed since.

For each listed name, a method's or a variant's, data/inputs/methods/<name>.json has its settings and its code:

    {"method": "ted", "settings": {"mse_alpha": 100.0, …}, "code": {"name": "src/distill/methods/ted.py", "content": …}}

For each member of an ensemble, data/inputs/members/<name>.json has what its parameters stand for, as those of a role.

The score by which a training chooses its weights is in these files too, and for other trainings in
data/inputs/chosen_by/<section>.json, null where a training keeps its last weights. So another evaluate.metric trains
again what it chooses, and nothing else:

    {"metric": "f1"}

A student depends on the file of its name. dvc.yaml cannot say which file of code, or whose section, a variant goes by.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, TypeAdapter

from distill.config.params import Params
from distill.config.references import MEMBER, ROLES, roles, with_commits
from distill.runtime import json_files

FOLDER = Path("data/inputs")
METHODS, MEMBERS, CHOSEN_BY = FOLDER / "methods", FOLDER / MEMBER, FOLDER / "chosen_by"
#: What decides, for each listed name, what it needs of earlier stages, and what else decides whether its models can be
#: used (`distill.methods.requirements.deciding`, `deciding_models`).
NEEDS = FOLDER / "needs.json"
_FIX = "delete it and run `dvc repro inputs`"


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
    return json_files.read(path, _FIX, _ENTRIES) if path.exists() else {}


class Listed(BaseModel):
    """A name that `methods` lists."""

    method: str
    settings: dict[str, Any]
    code: Annotated[Entry, AfterValidator(_named)]


_LISTED = TypeAdapter(Listed)


def method_file(name: str) -> Path:
    """The file of a listed name."""
    return METHODS / f"{name}.json"


def pinned(params: Params) -> Params:
    """The parameters with the commits of the hub that stage inputs has looked up, in place of branches."""
    named = {field: entry for role in roles(params) for field, entry in read(role).items()}
    return with_commits(params, {field: entry["commit"] for field, entry in named.items() if "commit" in entry})


def folders(deps: Iterable[Path]) -> dict[str, tuple[Path, str]]:
    """Folders and files that a stage with these dependencies reads, though dvc.yaml does not name them.

    Returns:
        parameter → (path, its content): of the user's models and data, and the code of a student's method.
    """
    deps = list(deps)
    entries = [item for role in ROLES if file(role) in deps for item in read(role).items()]
    for path in deps:
        for member in sorted(MEMBERS.glob("*.json")) if path == MEMBERS else [path]:
            if member.parent == MEMBERS:
                entries += read(MEMBER + member.stem).items()
        if path.parent == METHODS:
            entries.append((f"methods: {path.stem}", json_files.read(path, _FIX, _LISTED).code))
    return {field: (Path(entry["name"]), entry["content"]) for field, entry in entries if "content" in entry}
