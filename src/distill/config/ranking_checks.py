"""What task ranking asks of the parameters: batches of whole groups, and columns of queries and passages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.config.data import BY_TEXTS
from distill.config.training import SECTIONS

if TYPE_CHECKING:
    from distill.config.params import Params


def check(params: Params) -> None:
    """Raise a ValueError where parameters do not fit groups of passages."""
    data = params.data
    if data.text_pair is None:
        raise ValueError("data.text_pair is null but task is 'ranking': name the column of the passages")
    if data.group == BY_TEXTS:
        raise ValueError(
            f"data.group is {BY_TEXTS!r} but task is 'ranking', where groups are the passages of a query: name the"
            " column of the query's id, or set it to null: passages of the same query text"
        )
    if params.augment.methods:
        raise ValueError(
            f"augment.methods is {params.augment.methods} but task is 'ranking': a copy changes one pair, and a group"
            " holds the passages of one query: set it to []"
        )
    _check_batches(params)


def _check_batches(params: Params) -> None:
    """Every update is of as many groups as batch_size has room for, and each of its forward passes of as many."""
    trainings = {name: getattr(params, name) for name in SECTIONS if name != "generator"}
    trainings |= {f"{name}.teacher": member for name, member in params.members.items()}
    trainings |= {f"{name}.distill": variant.distill for name, variant in params.variants.items()}
    most = params.data.max_passages
    for field, section in trainings.items():
        groups, parts = section.batch_size // most, section.gradient_accumulation
        if not groups or groups % parts:
            raise ValueError(
                f"{field}.batch_size is {section.batch_size} pairs of query and passage, which is {groups} groups of"
                f" data.max_passages {most}, for gradient_accumulation {parts}: an update is made of whole groups: set"
                f" it to {max(-(-groups // parts), 1) * parts * most}"
            )
