"""Which parameters name models, tokenizers and data: folders of this machine, or repositories of the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from distill.config.data import SPLITS, parameter
from distill.config.params import Params
from distill.config.schema import Model, ModelTokenizer, Tokenizer


@dataclass(frozen=True)
class Reference:
    """A parameter that names a model, a tokenizer or a data set.

    Attributes:
        role: Whose it is: `data`, `tokenizer`, `teacher`, `student`, `assistant`, `generator`, or `members/<name>`.
        field: Dotted name of the parameter, `teacher.model.path`.
        name: Its value: a folder, or a hub id.
        revision: Branch, tag or commit of the hub; None: its default branch.
        kind: Kind of repository on the hub.
    """

    role: str
    field: str
    name: str
    revision: str | None
    kind: Literal["model", "dataset"]

    @property
    def path(self) -> Path | None:
        """The folder or file of this name; None: there is none here, and the name is looked up on the hub."""
        path = Path(self.name)
        return path if path.exists() else None


ROLES = ("data", "tokenizer", "teacher", "student", "assistant", "generator")


#: Beginning of the role of an ensemble's member.
MEMBER = "members/"


def roles(params: Params) -> list[str]:
    """`ROLES`, and the roles of the ensemble's members."""
    return [*ROLES, *(MEMBER + name for name in params.ensemble.members)]


def references(params: Params) -> list[Reference]:
    """All that the parameters name, in the order of `roles`."""
    listed = []
    if params.data.source == "hub" and params.data.name:
        listed.append(Reference("data", "data.name", params.data.name, params.data.revision, "dataset"))
    if params.data.source == "files":
        listed += [
            Reference("data", parameter(name), path, None, "dataset") for name, path in params.data.extra.items()
        ]
    for name, path in _stored(params).items():
        listed.append(Reference(MEMBER + name, f"{name}.teacher.predictions", path, None, "dataset"))
    for role, field, model in _models(params):
        if model.path:
            listed.append(Reference(role, f"{field}.path", model.path, model.revision, "model"))
    return listed


def files(params: Params) -> dict[str, str]:
    """Data files that the parameters name: dotted name → path.

    DVC knows them as dependencies, but for those of `data.extra` and of an ensemble's members, which are `references`
    too.
    """
    data, named = params.data, {}
    if data.source == "files":
        named = {split: getattr(data, split) for split in SPLITS} | data.extra
    members = {f"{name}.teacher.predictions": path for name, path in _stored(params).items()}
    return (
        members
        | {parameter(split): path for split, path in named.items()}
        | {
            **({"teacher.predictions": params.teacher.predictions} if params.teacher.source == "predictions" else {}),
            "retrieve.pool": params.retrieve.pool,
        }
    )


def _stored(params: Params) -> dict[str, str]:
    """The files of members whose outputs are stored, by member."""
    members = {name: params.members[name] for name in params.ensemble.members}
    return {name: member.predictions for name, member in members.items() if member.source == "predictions"}


def with_commits(params: Params, commits: Mapping[str, str]) -> Params:
    """The parameters with revisions of the hub replaced by the commits that they stand for.

    Args:
        params: The parameters.
        commits: Dotted name of a reference → commit, 40 hex digits.
    """
    changes: dict[str, Any] = {}
    if commit := commits.get("data.name"):
        changes["data"] = params.data.model_copy(update={"revision": commit})
    if commit := commits.get("features.tokenizer.path"):
        tokenizer = params.features.tokenizer.model_copy(update={"revision": commit})
        changes["features"] = params.features.model_copy(update={"tokenizer": tokenizer})
    for role in ("teacher", "student", "generator"):
        section = getattr(params, role)
        if (pinned := _pinned(section, role, commits)) != section:
            changes[role] = pinned
    chain = [_pinned(link, f"assistant.chain.{i}", commits) for i, link in enumerate(params.assistant.chain)]
    members = {name: _pinned(member, f"{name}.teacher", commits) for name, member in params.members.items()}
    if members != params.members:
        changes["members"] = members
    if chain != list(params.assistant.chain):
        changes["assistant"] = params.assistant.model_copy(update={"chain": chain})
    return params.model_copy(update=changes) if changes else params


def _pinned(section: Any, where: str, commits: Mapping[str, str]) -> Any:
    """A section with the commits of its model and its tokenizer.

    Args:
        where: Its dotted name.
    """
    return section.model_copy(
        update={
            part: getattr(section, part).model_copy(update={"revision": commit})
            for part in ("model", "tokenizer")
            if (commit := commits.get(f"{where}.{part}.path"))
        }
    )


def _models(params: Params) -> Iterator[tuple[str, str, Model | Tokenizer | ModelTokenizer]]:
    yield "tokenizer", "features.tokenizer", params.features.tokenizer
    yield "tokenizer", "teacher.tokenizer", params.teacher.tokenizer
    yield "tokenizer", "student.tokenizer", params.student.tokenizer
    for name in params.ensemble.members:
        yield "tokenizer", f"{name}.teacher.tokenizer", params.members[name].tokenizer
    yield "teacher", "teacher.model", params.teacher.model
    yield "student", "student.model", params.student.model
    for index, link in enumerate(params.assistant.chain):
        yield "assistant", f"assistant.chain.{index}.model", link.model
    yield "generator", "generator.model", params.generator.model
    for name in params.ensemble.members:
        yield MEMBER + name, f"{name}.teacher.model", params.members[name].model
        yield MEMBER + name, f"{name}.teacher.tokenizer", params.members[name].tokenizer
