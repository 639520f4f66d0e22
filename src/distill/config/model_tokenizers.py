"""Which tokenizer teacher and student read by: one of their own, or that of section `features`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.config.schema import ModelTokenizer, Tokenizer

if TYPE_CHECKING:
    from distill.config.params import Params

SHARED = "features.tokenizer"


def field(params: Params, role: str) -> str:
    """The parameters that decide a model's tokenizer.

    Args:
        role: `teacher` or `student`. Assistants and generator read the student's tokens.

    Returns:
        `features.tokenizer`, or `teacher.tokenizer` and `student.tokenizer` where the model has its own.
    """
    return f"{role}.tokenizer" if getattr(params, role).tokenizer.is_set else SHARED


def of(params: Params, role: str) -> Tokenizer:
    """A model's tokenizer: what its own parameters leave out is as in section `features`.

    Args:
        role: `teacher` or `student`.
    """
    return _complete(params, getattr(params, role).tokenizer)


def _complete(params: Params, own: ModelTokenizer) -> Tokenizer:
    shared = params.features.tokenizer
    if not own.is_set:
        return shared
    return Tokenizer(
        path=own.path,
        revision=own.revision,
        vocab_size=shared.vocab_size if own.vocab_size is None else own.vocab_size,
        lowercase=shared.lowercase if own.lowercase is None else own.lowercase,
    )


def of_members(params: Params) -> dict[str, Tokenizer]:
    """The tokenizers of an ensemble's members that are neither the student's nor that of section `teacher`, by name."""
    known = [of(params, role) for role in ("teacher", "student")]
    models = {name: params.members[name] for name in params.ensemble.members}
    own = {name: _complete(params, member.tokenizer) for name, member in models.items() if member.source == "model"}
    return {name: tokenizer for name, tokenizer in own.items() if tokenizer not in known}


def reader_of(params: Params, member: str) -> str:
    """Whose tokens a member of the ensemble reads (`Prepared.read_by`): the student's, those of section `teacher`, or
    its own.
    """
    if member in of_members(params):
        return member
    own = _complete(params, params.members[member].tokenizer)
    return "student" if own == of(params, "student") else "teacher"


def check(params: Params) -> None:
    """Raise a ValueError where a checkpoint would read the tokens of a WordPiece that is trained here, or a member of
    an ensemble would have one trained for itself.

    Methods that train a generator check theirs themselves.
    """
    if trained := [name for name, tokenizer in of_members(params).items() if tokenizer.path is None]:
        raise ValueError(
            f"{trained[0]}.teacher.tokenizer: a WordPiece is trained for the student and for section teacher alone:"
            " name a tokenizer in path, or leave it out"
        )
    for name in params.ensemble.members:
        path = params.members[name].model.path
        if path and of(params.as_member(name), "teacher").path is None:
            raise ValueError(
                f"{name}.teacher.model.path is {path!r}, whose tokenizer is not that of the data: set"
                f" {name}.teacher.tokenizer.path to {path!r}, or {SHARED}.path"
            )
    roles = {"teacher": "teacher", "student": "student"}
    if params.augment.methods:
        roles["generator"] = "student"
    for role, reader in roles.items():
        path = getattr(params, role).model.path
        if path and of(params, reader).path is None:
            where = field(params, reader)
            raise ValueError(
                f"{where}.path is null (train a new vocabulary) but {role}.model.path is {path!r}, which has its own:"
                f" set {where}.path to {path!r}{_other(role, where)}"
            )


def _other(role: str, where: str) -> str:
    """The fix beside the usual one, for a model that may have a tokenizer to itself."""
    return f", or {role}.tokenizer.path, for the {role} alone" if where == SHARED and role != "generator" else ""
