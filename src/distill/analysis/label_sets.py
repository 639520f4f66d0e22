"""Tables of examples (`distill.analysis.example_table`) whose rows have several classes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


#: A score of each row that tables of rows with a single class do not have.
MARK = "example_f1"


def are(table: pd.DataFrame) -> bool:
    """Whether a table is of such rows: those with a single class have no F1 of their own."""
    return MARK in table


def matrix(column: pd.Series, number: Mapping[str, int]) -> np.ndarray:
    """Which classes each row has: bool, (n, C).

    Args:
        column: JSON lists of names.
        number: name of a class → its number.
    """
    found = np.zeros((len(column), len(number)), bool)
    for row, text in zip(found, column, strict=True):
        row[[number[name] for name in json.loads(text)]] = True
    return found


def shown(text: str) -> str:
    """A JSON list of names as people read it."""
    return ", ".join(json.loads(text)) or "none"
