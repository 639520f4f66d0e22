"""Which tokenizer teacher and student read by: one of their own, or that of section `features`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.config.schema import Tokenizer

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
    shared, own = params.features.tokenizer, getattr(params, role).tokenizer
    if not own.is_set:
        return shared
    return Tokenizer(
        path=own.path,
        revision=own.revision,
        vocab_size=shared.vocab_size if own.vocab_size is None else own.vocab_size,
        lowercase=shared.lowercase if own.lowercase is None else own.lowercase,
    )


def check(params: Params) -> None:
    """Raise a ValueError where a checkpoint would read the tokens of a WordPiece that is trained here.

    Methods that train a generator check theirs themselves.
    """
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
