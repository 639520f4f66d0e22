"""The examples on which teacher, baseline and the best method disagree: how many there are, and which to show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from distill.analysis import label_sets

if TYPE_CHECKING:
    import pandas as pd

MOST = 60


def find(tables: Mapping[str, pd.DataFrame], best: str | None, baseline: str) -> tuple[list[dict[str, Any]], list[int]]:
    """Counts, and the rows to show, the most informative first.

    Kinds, in this order: the baseline wrong and the best method right; the reverse; the teacher alone right; any other
    where some are right and some wrong. Each kind gets an equal part of `MOST`, and the first kinds get the rest; the
    rows of a kind are spread evenly over the data.

    Where answers are numbers, neither right nor wrong, there are no counts, and the rows are those whose error changes
    most from the baseline to the best method (of the last two models), for the better and for the worse.

    Args:
        tables: model → table, one seed each; teacher first.
        best: the name of the best method; None without one. baseline: name of the method that it is compared with.

    Returns:
        ([{"right": the models that are right, "examples": n}, …] with every combination that occurs; row numbers)
    """
    names = list(tables)
    if "correct" not in next(iter(tables.values())):
        return [], _largest_changes(list(tables.values()))
    right = np.array([table["correct"] for table in tables.values()], bool)
    patterns, pattern, sizes = np.unique(right.T, axis=0, return_inverse=True, return_counts=True)
    counts = [
        {"right": [name for name, yes in zip(names, row, strict=True) if yes], "examples": int(size)}
        for row, size in zip(patterns, sizes, strict=True)
    ]
    counts.sort(key=lambda item: (-len(item["right"]), [names.index(name) for name in item["right"]]))
    kinds: dict[int, list[int]] = {}
    for number, row in enumerate(patterns):
        if row.any() and not row.all():
            kind = _kind({name: bool(yes) for name, yes in zip(names, row, strict=True)}, best, baseline)
            kinds.setdefault(kind, []).append(number)
    groups = [np.flatnonzero(np.isin(pattern.ravel(), kinds[kind])) for kind in sorted(kinds)]
    return counts, _picked(groups)


def _kind(right: dict[str, bool], best: str | None, baseline: str) -> int:
    if best is not None and baseline in right and right[baseline] != right[best]:
        return 0 if right[best] else 1
    return 2 if [name for name, yes in right.items() if yes] == ["teacher"] else 3


def _picked(groups: list[np.ndarray]) -> list[int]:
    sizes = [min(len(group), MOST // len(groups)) for group in groups]
    for k, group in enumerate(groups):
        sizes[k] += min(MOST - sum(sizes), len(group) - sizes[k])
    spread = [
        np.linspace(0, len(group) - 1, size).round().astype(int) for group, size in zip(groups, sizes, strict=True)
    ]
    return [int(row) for group, places in zip(groups, spread, strict=True) for row in group[places]]


def _largest_changes(tables: list[pd.DataFrame]) -> list[int]:
    if len(tables) < 2:
        return []
    before, after = ((table["predicted"] - table["gold"]).abs().to_numpy() for table in tables[-2:])
    order = np.argsort(after - before, kind="stable")  # most gained first
    half = MOST // 2
    gained = [row for row in order[:half] if after[row] < before[row]]
    lost = [row for row in order[::-1][:half] if after[row] > before[row]]
    return [int(row) for row in (*gained, *lost)]


def describe(
    rows: Iterable[int], examples: Any, tables: Mapping[str, pd.DataFrame], answers: Mapping[str, Sequence[Any]]
) -> list[dict[str, Any]]:
    """Examples as a page shows them: id, texts, gold answers, each model's answer, and which models are right.

    Args:
        rows: numbers of the examples. examples: the validation split (`datasets.Dataset`); of rankings by query
            (`queries.by_query`), whose answers are ids of passages.
        tables: model → table, see `find`. answers: model → its answer to every example.
    """
    rows, shown = list(rows), []
    for row, example in zip(rows, examples.select(rows), strict=True):
        shown_as = label_sets.shown if label_sets.are(next(iter(tables.values()))) else (lambda answer: answer)
        names = ("question", "context") if "question" in example else ("text", "text_pair")
        values = next(iter(tables.values())).iloc[row]
        said = {name: shown_as(by_row[row]) for name, by_row in answers.items()}
        gold = shown_as(values["gold"]) if "gold" in values else list(dict.fromkeys(example["answers"]["text"]))
        if "passages" in example:  # ids of passages, whose texts say more
            texts = dict(zip(example["names"], example["passages"], strict=True))
            said = {name: texts[passage] for name, passage in said.items()}
            grades = zip(example["passages"], example["relevance"], strict=True)
            gold = [text for text, grade in grades if grade > 0]
        shown.append(
            {
                "id": example["id"],
                "text": {name: example[name] for name in names if example[name] is not None},
                "gold": gold,
                "answers": said,
                "right": [name for name, table in tables.items() if "correct" in table and table["correct"].iloc[row]],
            }
        )
    return shown
