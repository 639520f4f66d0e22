"""Schemes in which tags mark entities: which one a corpus is written in, and tags that no entity of it can have.

A tag is `O`, or a prefix and the type of an entity: `B-PER`. The schemes, by the names of seqeval:

    IOB2   (BIO) every entity begins with B and goes on with I
    IOB1   B only where an entity follows another one of its type at once; else I throughout
    IOBES  (BIOES) like IOB2, with E at the end, and S for an entity of one word
    BILOU  like IOBES, with L for E and U for S
    IO     I throughout: entities of one type side by side are one
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

OUTSIDE = "O"
#: Scheme → the prefixes of its tags, in the order in which classes are listed.
PREFIXES = {"IO": "I", "IOB1": "BI", "IOB2": "BI", "IOBES": "BIES", "BILOU": "BILU"}
SCHEMES = tuple(PREFIXES)
# seqeval does not tell "B-X-" from "B-X".
_TAG = re.compile(r"[BIESLU]-[^\s-](.*[^\s-])?")


def is_tag(value: str) -> bool:
    """Whether a text is `O` or a prefix, a hyphen and a type, which neither begins nor ends with a hyphen or space."""
    return value == OUTSIDE or _TAG.fullmatch(value) is not None


def split(tag: str) -> tuple[str, str]:
    """Prefix and type of a tag; ("O", "") outside of entities."""
    return (OUTSIDE, "") if tag == OUTSIDE else (tag[0], tag[2:])


def detect(sequences: Iterable[Sequence[str]]) -> str:
    """The scheme of tags by their prefixes, and where there are B and I alone by whether each B needs to be one.

    Tags that this scheme does not allow are found by `fault`.

    Args:
        sequences: the tags of each text, in order; well-formed (`is_tag`).
    """
    prefixes: set[str] = set()
    needed = True  # whether every B follows a tag of its type, as in IOB1
    for tags in sequences:
        before = ""
        for prefix, kind in map(split, tags):
            prefixes.add(prefix)
            needed = needed and (prefix != "B" or before == kind)
            before = kind
    prefixes.discard(OUTSIDE)
    if prefixes & {"L", "U"}:
        return "BILOU"
    if prefixes & {"E", "S"}:
        return "IOBES"
    if prefixes == {"I"}:
        return "IO"
    return "IOB1" if "I" in prefixes and needed else "IOB2"


def fault(tags: Sequence[str], scheme: str) -> tuple[int, str] | None:
    """The first tag that the scheme does not allow at its place: (its number from 0, why); None where all are allowed.

    An entity that its text leaves unfinished (B without E, in IOBES) is a fault of its last tag.
    """
    allowed = _ALLOWED[scheme]
    before = (OUTSIDE, "")
    for number, tag in enumerate(tags):
        now = split(tag)
        if now[0] != OUTSIDE and now[0] not in PREFIXES[scheme]:
            return number, f"begins with {now[0]}, which {scheme} does not have"
        if problem := allowed(before, now):
            at = number if problem.startswith("goes on") else number - 1
            return at, problem
        before = now
    if problem := allowed(before, (OUTSIDE, "")):
        return len(tags) - 1, problem
    return None


def classes(sequences: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """The classes that tags stand for: O, and for each type in order every prefix that occurs with any type.

    A tag that only other splits have is then no stranger, as long as its type and its prefix are known.
    """
    found = {split(tag) for tags in sequences for tag in tags} - {(OUTSIDE, "")}
    prefixes = sorted({prefix for prefix, _ in found}, key="BIESLU".index)
    kinds = sorted({kind for _, kind in found})
    return (OUTSIDE, *(f"{prefix}-{kind}" for kind in kinds for prefix in prefixes))


_Tag = tuple[str, str]


def _iob2(before: _Tag, now: _Tag) -> str:
    return "goes on with an entity that nothing begins" if now[0] == "I" and before[1] != now[1] else ""


def _iob1(before: _Tag, now: _Tag) -> str:
    if now[0] == "B" and before[1] != now[1]:
        return "goes on after no entity of its type, so that IOB1 has I there"
    return ""


def _ended(inside: str, last: str) -> Callable[[_Tag, _Tag], str]:
    def allowed(before: _Tag, now: _Tag) -> str:
        is_open = before[0] in ("B", "I")
        if now[0] in (inside, last):
            return "" if is_open and before[1] == now[1] else "goes on with an entity that nothing begins"
        return f"is the last of an entity, which ends with {last}" if is_open else ""

    return allowed


_ALLOWED: dict[str, Callable[[_Tag, _Tag], str]] = {
    "IO": lambda before, now: "",
    "IOB1": _iob1,
    "IOB2": _iob2,
    "IOBES": _ended("I", "E"),
    "BILOU": _ended("I", "L"),
}
