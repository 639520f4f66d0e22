"""The transfer set: texts without labels that students learn from, with what a teacher says of them.

Texts that scores are chosen or reported on have no place in it, and those of the labelled training rows stand there
already, with more to learn from: both are removed, by the texts, whatever the ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from distill.data.sources.overlap import key
from distill.data.sources.squad_json import Row, check_ids, fail


def cleared(rows: Sequence[Row], splits: Mapping[str, Sequence[Row]]) -> tuple[list[Row], dict[str, Any]]:
    """The rows whose texts no other split has.

    Args:
        rows: rows of the transfer set: texts (of a pair, both count together) or questions (with their contexts).
        splits: rows of the other splits, by name.

    Returns:
        (the rows that are left, in order; counts: `read`, `removed` by split (a text of several splits counts for the
        first of these) and `repeated`: rows that are left and have the text of an earlier one, which stay)
    """
    owner: dict[tuple[str, str], str] = {}
    for split, others in splits.items():
        for row in others:
            owner.setdefault(key(row), split)
    left, removed, seen = [], Counter(), Counter()
    for row in rows:
        text = key(row)
        if text in owner:
            removed[owner[text]] += 1
        else:
            left.append(row)
            seen[text] += 1
    counts = {split: removed[split] for split in splits if removed[split]}
    return left, {"read": len(rows), "removed": counts, "repeated": sum(seen.values()) - len(seen)}


def line(counts: Mapping[str, Any], left: int) -> str:
    """A sentence for people on the counts of `cleared`."""
    removed = ", ".join(f"{count:,} in {split}" for split, count in counts["removed"].items()) or "none"
    repeated = f"; {counts['repeated']:,} of them repeat the text of another" if counts["repeated"] else ""
    return f"{left:,} of {counts['read']:,} rows; left out, as they are in other splits: {removed}{repeated}"


def check(rows: Sequence[Row], train: Sequence[Row], place: str, field: str) -> None:
    """Check what is left of a transfer set.

    Args:
        train: rows of the training split.
        place, field: file and parameter, for messages.

    Raises:
        UserError: nothing is left, or a question has the id of another one that is trained on.
    """
    if not rows:
        fail(place, "rows", "all of them are in other splits", f"name other texts: {field}")
    if "context" in rows[0]:
        check_ids({"train": list(train), place: list(rows)})
