"""Variants: named settings of one method, each a section of params.yaml of its own.

    methods: [ft, ted, ted-light]

    ted-light:                    # section ted, with these changes
      method: ted
      mse_alpha: 100
      distill: {epochs: 3}        # section distill, with these changes

    kd-early:
      method: kd
      teacher_snapshot: 1         # its teacher: the first of the checkpoints that teacher.snapshots keeps

Every listed name has students, files, rows and runs of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from distill.config.schema import Count, Distill, Section

#: The key that makes a section a variant; the section of trainings that it may change; whose outputs it learns from.
METHOD, DISTILL, SNAPSHOT = "method", "distill", "teacher_snapshot"
#: Names of variants are parts of file names and of DVC's names of stages.
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(-[A-Za-z0-9_]+)*")


class Variant(Section):
    """A variant.

    Attributes:
        method: name of the method.
        distill: section `distill` with the variant's changes.
        teacher_snapshot: number of the checkpoint of the teacher's training that teaches, from 1; None: the teacher.
    """

    method: str
    distill: Distill
    teacher_snapshot: Count | None


def take_out(raw: dict[str, Any], known: Collection[str], belongs: Callable[[Any], bool]) -> dict[str, dict[str, Any]]:
    """Remove sections that the user has named from the sections of params.yaml, and return them by name.

    Args:
        raw: sections by name.
        known: names of all other sections.
        belongs: whether a section is one of them: `is_variant`, or `ensemble.is_member`.
    """
    names = [name for name, values in raw.items() if name not in known and belongs(values)]
    return {name: raw.pop(name) for name in names}


def is_variant(values: Any) -> bool:
    """Whether a section of params.yaml that is no other section is a variant's."""
    return isinstance(values, Mapping) and METHOD in values


def problem_with_name(name: Any, known: Collection[str], others: Collection[str]) -> str | None:
    """What is wrong with a variant's name; None: nothing.

    Args:
        known: names of sections and methods, which no variant may differ from by capitals alone.
        others: names of the other variants.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name) or len(name) > 60:
        return "expected a name of letters, digits, _ and single hyphens, that begins with a letter, of 60 at most"
    # Files of two such names are one on some machines.
    if same := [other for other in (*known, *others) if other != name and other.lower() == name.lower()]:
        return f"differs from {same[0]!r} by capitals alone: choose another name"
    if name in RESERVED:
        return "the pipeline's files have this name: choose another"
    return None


#: Rows and files of the pipeline's own.
RESERVED = ("teacher", "student", "filters", "generations")
