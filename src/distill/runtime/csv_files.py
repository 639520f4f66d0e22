"""The one place that writes CSV files: text from data becomes neither a formula of a spreadsheet nor markup of a page.

A spreadsheet takes a cell for a formula that begins with one of `= + - @`, also as full-width letters, or with a tab or
line break before it (OWASP, CSV injection). Such texts get a `'` in front, which spreadsheets take for the mark of a
text; numbers stay numbers. DVC writes the cells of its plots into a script element of a page (`dvc plots show`), which
a `<` could end: it becomes `‹`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_STARTS = frozenset("=+-@\t\r\n＝＋－＠")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def escape(text: str) -> str:
    """A text as a cell that no spreadsheet calculates; `unescape` gives it back."""
    return f"'{text}" if _is_formula(text.lstrip("'")) else text


def unescape(cell: str) -> str:
    """The text of a cell that `escape` has made."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell.lstrip("'")) else cell


def _is_formula(text: str) -> bool:
    return text[:1] in _STARTS and text != "" and not _NUMBER.fullmatch(text)


def _cell(value: Any, exact: bool) -> Any:
    if not isinstance(value, str):
        return value
    if not exact:
        # A lone carriage return would stand in the file without quotes, and end the line for readers.
        value = re.sub(r"\r\n?", "\n", value).replace("<", "‹")
    return escape(value)


def write_rows(columns: Sequence[str] | None, rows: Iterable[Sequence[Any]], path: Path, exact: bool = False) -> None:
    """Write a table, for people, plots and spreadsheets; the same rows give the same bytes.

    Args:
        columns: names of the columns; None: the file continues another one, and has no header.
        rows: cells in the order of the columns; None is an empty cell.
        exact: as in `write_frame`.
    """
    quoting = csv.QUOTE_NONNUMERIC if exact else csv.QUOTE_MINIMAL
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n", quoting=quoting)
        for row in chain([] if columns is None else [columns], rows):
            writer.writerow([_cell(value, exact) for value in row])


def write_frame(frame: pd.DataFrame, path: Path, exact: bool = False) -> None:
    """Write a table; the same columns give the same bytes, and numbers lose no digit.

    Args:
        exact: whether the texts are read again, by `unescape`: all are quoted, and none of their characters changes. No
            plot may be made of such a file.
    """
    frame = frame.rename(columns=lambda name: _cell(name, exact))
    others = {name: list(frame[name]) for name in frame if frame[name].dtype.kind not in "biuf"}
    texts = {name: values for name, values in others.items() if any(isinstance(value, str) for value in values)}
    frame = frame.assign(**{name: [_cell(value, exact) for value in values] for name, values in texts.items()})
    quoting = csv.QUOTE_NONNUMERIC if exact else csv.QUOTE_MINIMAL
    frame.to_csv(path, index=False, lineterminator="\n", quoting=quoting, encoding="utf-8")
