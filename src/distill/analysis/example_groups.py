"""Groups of validation examples that depend on one another, and so are resampled together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def of(task: str, examples: Any) -> np.ndarray | None:
    """The group of each example as a number, (n,); None where every example stands for itself.

    Questions are grouped by their paragraph, texts by the column `group`, where the data have one (`data.group`).
    Examples that are all of one group count as independent: from a single group nothing can be told of others.

    Args:
        examples: the validation split (`datasets.Dataset`).
    """
    column = "context" if task == "qa" else "group"
    if column not in examples.column_names:
        return None
    codes, names = pd.factorize(np.array(examples.with_format("arrow")[:].column(column).to_pylist(), object))
    return codes if 1 < len(names) < len(codes) else None
