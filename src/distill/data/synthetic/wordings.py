"""Vocabulary of the embedded text corpora: nouns, properties, wordings of statements.

In the wordings ``{n}`` is a noun, ``{e}`` a town, ``{a}`` an adjective, ``{j}`` and ``{k}`` are statements. Held-out
wordings occur in the validation split only. Their words all occur in training; only the combination is new.
"""

from __future__ import annotations

from dataclasses import dataclass


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NOUNS = _words("streets houses markets gardens bridges inns schools walls")

#: Favourable and unfavourable adjectives, equally many.
GOOD = _words("clean lovely excellent pleasant splendid charming safe cheerful tidy fine friendly delightful")
BAD = _words("dirty ugly terrible unpleasant shabby gloomy dangerous dull filthy poor hostile dreary")

#: Pairs of opposite properties, which exclude each other.
OPPOSITES = tuple(
    tuple(pair.split("/")) for pair in _words("old/new wide/narrow dark/light quiet/loud full/empty cheap/costly")
)


@dataclass(frozen=True)
class Wordings:
    """Wordings of a statement: both splits use `both`, the validation split alone `held_out`."""

    both: tuple[str, ...]
    held_out: tuple[str, ...] = ()


def _lines(text: str) -> tuple[str, ...]:
    return tuple(text.strip().splitlines())


#: A noun has a property. Each wording is a clause without capital and full stop.
AFFIRMED = Wordings(
    _lines("""
the {n} of {e} are {a}
in {e} the {n} are {a}
visitors find the {n} of {e} {a}
people call the {n} of {e} {a}
people say that the {n} of {e} are {a}
"""),
    _lines("""
people find the {n} of {e} {a}
visitors say that the {n} of {e} are {a}
in {e} people call the {n} {a}
"""),
)

#: A noun does not have a property.
DENIED = Wordings(
    _lines("""
the {n} of {e} are not {a}
in {e} the {n} are never {a}
nobody finds the {n} of {e} {a}
no visitor calls the {n} of {e} {a}
the {n} of {e} are far from {a}
nobody says that the {n} of {e} are {a}
"""),
    _lines("""
in {e} the {n} are not {a}
nobody calls the {n} of {e} {a}
no visitor says that the {n} of {e} are {a}
in {e} the {n} are far from {a}
"""),
)

#: Two statements, of which ``{j}`` decides the class: the main clause, or the one that holds now.
DECIDED = Wordings(
    _lines("""
although {k}, {j}
{j}, although {k}
even if {k}, {j}
{j}, even if {k}
{k}, but {j}
{k} once, but {j} now
once {k}, but now {j}
now {j}, although once {k}
"""),
    _lines("""
although {k} once, {j}
{j} now, even if {k} once
even if once {k}, now {j}
once {k}, but {j}
"""),
)
