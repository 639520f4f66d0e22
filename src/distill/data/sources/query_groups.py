"""Rows of queries with their passages (`data.sources.passage_sets`), by query: what is drawn, compared and trained on.

Rows of a query stand together, with the query's id in `query`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from distill.data.sources.question_sets import draw_order
from distill.data.sources.squad_json import Row


def are(rows: Sequence[Row]) -> bool:
    """Whether rows are passages of queries."""
    return bool(rows) and "query" in rows[0]


def of(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """The rows of each query, in order."""
    for _, group in groupby(rows, key=lambda row: row["query"]):
        yield list(group)


def once(rows: list[Row]) -> list[Row]:
    """A row for each query, with its text alone, by which splits are compared; other rows as they are.

    Splits may share passages, which come out of one collection; what gives a score away is a query that was trained on.
    """
    if not are(rows):
        return rows
    return [group[0] | {"text_pair": None, "label": None} for group in of(rows)]


def kept(rows: list[Row], chosen: Sequence[Row]) -> list[Row]:
    """All rows of the queries that `chosen` has, of `once`; other rows are `chosen` already."""
    if not are(rows):
        return list(chosen)
    queries = {row["query"] for row in chosen}
    return [row for row in rows if row["query"] in queries]


def limit(rows: list[Row], most: int | None, seed: int) -> list[Row]:
    """Rows of at most `most` queries, drawn as `question_sets.limit` draws texts; None: all."""
    groups = list(of(rows))
    if most is None or most >= len(groups):
        return rows
    order = sorted(range(len(groups)), key=lambda number: draw_order(seed, groups[number][0]["text"]))
    return [row for number in sorted(order[:most]) for row in groups[number]]


def teaching(rows: list[Row], most: int, seed: int) -> tuple[list[Row], dict[str, int]]:
    """Labelled rows to train on: groups that can teach a ranking, cut to `most` passages.

    A group that has no passage better than another teaches nothing, and is left out. Of a larger group the passages of
    the highest relevance stay, up to `most` − 1 of those above 0, and of the others as many as there is room for, drawn
    by `seed`; they keep their order.

    Returns:
        (rows, counts: `alone`, groups of one passage, and `equal`, groups of equal relevance, which are left out;
        `cut`, groups that were cut, and `passages`, which these lost)
    """
    left, counts = [], dict.fromkeys(("alone", "equal", "cut", "passages"), 0)
    for group in of(rows):
        if len(group) == 1:
            counts["alone"] += 1
        elif len({row["label"] for row in group}) == 1:
            counts["equal"] += 1
        else:
            left += _cut(group, most, seed, counts)
    return left, counts


def taught(rows: list[Row], most: int, seed: int) -> tuple[list[Row], dict[str, int]]:
    """Rows without labels to train on: groups of two passages or more, cut to `most` of them, drawn by `seed`.

    Returns:
        as `teaching`
    """
    left, counts = [], dict.fromkeys(("alone", "equal", "cut", "passages"), 0)
    for group in of(rows):
        if len(group) == 1:
            counts["alone"] += 1
        else:
            left += _cut(group, most, seed, counts)
    return left, counts


def line(counts: dict[str, int], left: int, most: int) -> str:
    """A sentence for people on the counts of `teaching` and `taught`.

    Args:
        left: number of groups that are trained on.
    """
    text = f"{left:,} groups to train on"
    out = [(counts["alone"], "of one passage"), (counts["equal"], "whose passages are equally relevant")]
    if given := [f"{count:,} {what}" for count, what in out if count]:
        text += f"; left out, as they teach no order: {', '.join(given)}"
    if counts["cut"]:
        text += f"; {counts['cut']:,} cut to {most} passages (data.max_passages), which left out {counts['passages']:,}"
    return text


def _cut(group: list[Row], most: int, seed: int, counts: dict[str, int]) -> list[Row]:
    if len(group) <= most:
        return group
    counts["cut"] += 1
    counts["passages"] += len(group) - most

    def order(number: int) -> Any:
        row = group[number]
        return -row["label"] if row["label"] > 0 else 0.0, draw_order(seed, row["text"], row["text_pair"])

    positive = sorted((i for i, row in enumerate(group) if row["label"] > 0), key=order)
    others = sorted((i for i, row in enumerate(group) if not row["label"] > 0), key=order)
    # Where all are relevant, to different degrees, the least relevant one stays for the others to be above.
    chosen = positive[: most - 1] + (others or positive[-1:])
    return [group[number] for number in sorted(chosen[:most])]
