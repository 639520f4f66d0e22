"""Weights of classes in the task loss (`class_weights` of a training), for data with few rows of a class.

Where a row may have several classes, a weight is that of the class where it is true (`pos_weight` of
`torch.nn.BCEWithLogitsLoss`); where it is false, it weighs 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from distill.errors import UserError

BALANCED = "balanced"
# Classes that a line lists.
_MOST = 20


def of(
    setting: str | Mapping[str, float], classes: Sequence[str], labels: np.ndarray, where: str, all_needed: bool = True
) -> list[float]:
    """The weight of each class, in the classes' order.

    Args:
        setting: weights by class, or `balanced`: rows / (classes · rows of the class), as scikit-learn's
            `compute_class_weight` has it; the mean weight of a row is then 1. Where rows may have several: rows without
            the class / rows with it, so that both weigh the same.
        classes: the data's classes.
        labels: class numbers of the training rows, int, (rows,); rows without a label, below 0, do not count. Or 0
            and 1 of each class, (rows, C), NaN without a label.
        where: the training's section, for messages.
        all_needed: False: a class without a row, of which there may be some (tags), does not count for `balanced`, and
            weighs 1.

    Raises:
        UserError: a weight for no class of the data, or none for one of them; `balanced`, and a class without a row.
    """
    if setting != BALANCED:
        check(setting, classes, where)
        return [setting[name] for name in classes]
    several = labels.ndim == 2
    labels = labels[~np.isnan(labels[:, 0])] if several else labels[labels >= 0]
    counts = labels.sum(0).astype(np.int64) if several else np.bincount(labels, minlength=len(classes))
    if not all_needed:
        present = counts > 0
        return np.where(present, len(labels) / (present.sum() * np.maximum(counts, 1)), 1.0).tolist()
    if empty := [name for name, count in zip(classes, counts, strict=True) if not count]:
        raise UserError(
            f"params.yaml: {where}.class_weights: {BALANCED}: no training row has class {empty[0]!r}: give each class a"
            " weight by its name"
        )
    if several and (full := [name for name, count in zip(classes, counts, strict=True) if count == len(labels)]):
        raise UserError(
            f"params.yaml: {where}.class_weights: {BALANCED}: all training rows have class {full[0]!r}: give each class"
            " a weight by its name"
        )
    return ((len(labels) - counts) / counts if several else len(labels) / (len(classes) * counts)).tolist()


def check(weights: Mapping[str, float], classes: Sequence[str], where: str) -> None:
    """Raise a UserError where the weights are not those of exactly these classes."""
    field, shown = f"params.yaml: {where}.class_weights", ", ".join(classes[:_MOST])
    if strange := [name for name in weights if name not in classes]:
        raise UserError(f"{field}: {strange[0]!r} is no class of the data ({shown}): name its classes, or {BALANCED}")
    if missing := [name for name in classes if name not in weights]:
        raise UserError(f"{field}: has no weight of class {missing[0]!r}: give each of {shown} one, or {BALANCED}")


def describe(classes: Sequence[str], weights: Sequence[float]) -> str:
    """Classes with their weights in one line, the first twenty."""
    listed = [f"{name} {weight:.3g}" for name, weight in zip(classes[:_MOST], weights, strict=False)]
    return ", ".join(listed) + (f" and {len(classes) - _MOST:,} more" if len(classes) > _MOST else "")
