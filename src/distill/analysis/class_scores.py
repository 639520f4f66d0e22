"""Precision, recall and F1 of each class, as they are and with the decision tuned on the selection split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from distill.analysis import label_sets
from distill.tasks import decision

if TYPE_CHECKING:
    import pandas as pd

#: Classes that are listed, those with the fewest training rows.
MOST = 20
#: Column of the tables of examples → beginning of the scores' names.
SAID = {"predicted": "", "tuned": "tuned_"}
#: Splits whose rows are counted.
_SPLITS = ("train", "selection", "validation")
#: Scores of metrics/runs that are about all classes.
_OVERALL = ("macro_f1", "minority_recall")


def of(
    tables: Mapping[str, Mapping[int | None, pd.DataFrame]],
    scores: Mapping[str, Mapping[int | None, Mapping[str, float]]],
    meta: Mapping[str, Any],
) -> dict[str, Any]:
    """The scores of up to `MOST` classes, means over the seeds of each model.

    Args:
        tables: tables of examples by model and seed, with gold, predicted and, where a decision was tuned, tuned.
        scores: scores of metrics/runs by model and seed.
        meta: meta.json of the prepared data: names of the classes, and rows of each by split.

    Returns:
        rarest: the class that `minority_recall` is about; train: number of training rows; models: model → macro_f1,
        minority_recall, the same with tuned_, and tuned_threshold, those that it has; classes, the rarest first: each
        {class, rows: split → number of rows, scores: model → precision, recall and f1, 0–100 as in scikit-learn with 0
        for a class that is never said, and the same with tuned_; where examples have several classes also
        average_precision, if the split has the class, and tuned_threshold}.
    """
    classes, splits = meta["labels"], {name: meta["splits"][name]["labels"] for name in _SPLITS}
    counts = {split: _padded(rows, len(classes)) for split, rows in splits.items()}
    rows = decision.class_rows(meta)
    number = {name: place for place, name in enumerate(classes)}
    first = next(iter(next(iter(tables.values())).values()))
    several = label_sets.are(first)
    gold = _numbers(first["gold"], number, several)
    listed = sorted(range(len(classes)), key=_padded(rows, len(classes)).__getitem__)[:MOST]
    by_model = {
        name: _means([_of_table(table, gold, number) for table in seeds.values()]) for name, seeds in tables.items()
    }
    if several:
        for name, seeds in by_model.items():
            seeds |= _by_number(list(scores[name].values()), len(classes))
    present = np.flatnonzero(gold.any(0)) if several else gold
    return {
        "rarest": classes[decision.rarest(rows, present) if len(present) else 0],
        "train": meta["splits"]["train"]["examples"] if several else sum(counts["train"]),
        **({"several": True} if several else {}),
        "models": {name: _overall(list(seeds.values())) for name, seeds in scores.items()},
        "classes": [
            {
                "class": classes[place],
                "rows": {split: of_split[place] for split, of_split in counts.items()},
                "scores": {
                    name: {
                        score: float(values[place]) for score, values in means.items() if not np.isnan(values[place])
                    }
                    for name, means in by_model.items()
                },
            }
            for place in listed
        ],
    }


def _padded(counts: Sequence[int], classes: int) -> list[int]:
    """Numbers of rows of all classes; those at the end that have none are not counted."""
    return [*counts, *[0] * (classes - len(counts))]


def _of_table(table: pd.DataFrame, gold: np.ndarray, number: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Score → its values for all classes, (C,), 0–100."""
    from sklearn.metrics import precision_recall_fscore_support  # takes a second to import

    found = {}
    for column, beginning in SAID.items():
        if column in table:
            said = _numbers(table[column], number, gold.ndim == 2)
            values = precision_recall_fscore_support(gold, said, labels=range(len(number)), zero_division=0.0)
            names = (f"{beginning}{name}" for name in ("precision", "recall", "f1"))
            found |= {name: 100.0 * value for name, value in zip(names, values, strict=False)}
    return found


def _numbers(column: pd.Series, number: Mapping[str, int], several: bool) -> np.ndarray:
    """Numbers of classes, (n,); where examples have several, whether they have each, (n, C)."""
    return label_sets.matrix(column, number) if several else column.map(number).to_numpy()


def _by_number(runs: Sequence[Mapping[str, float]], classes: int) -> dict[str, np.ndarray]:
    """Mean over runs of the scores that have a class's number in their name, (C,); NaN where there are none."""
    names = {"average_precision": "ap", "tuned_threshold": "tuned_threshold"}
    return {
        name: np.array([np.mean([run.get(f"{key}_{number}", np.nan) for run in runs]) for number in range(classes)])
        for name, key in names.items()
    }


def _means(seeds: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.mean([seed[name] for seed in seeds], axis=0) for name in seeds[0]}


def _overall(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = [f"{beginning}{name}" for name in _OVERALL for beginning in SAID.values()] + ["tuned_threshold"]
    return {name: fmean(run[name] for run in runs) for name in names if all(name in run for run in runs)}
