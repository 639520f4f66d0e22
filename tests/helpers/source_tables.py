"""The tables of a published document (Markdown, or cells between tabs), as lines of a label and figures."""

from __future__ import annotations

import re
from typing import NamedTuple

_NUMBER = r"[+-]?\d*\.?\d+(?:e-?\d+)?"
# A number, two or more with slashes between, one with its gain behind it, or a pair in brackets.
_FIGURE = re.compile(rf"{_NUMBER}(?:/{_NUMBER})*(?: \([^()]*↑\))?|\({_NUMBER}(?:,{_NUMBER})*\)")
_MARKUP = re.compile(r"\\(?:mathcal|text|alpha|epsilon)|</?i>|(?<=\s)_(?=\{)|[\\${}*`]")


class Line(NamedTuple):
    """A line of a table that has figures.

    Attributes:
        label: its other cells, without markup, with a space between.
        figures: the cells that are numbers, as they are written; the first cell is none of them.
    """

    label: str
    figures: tuple[str, ...]


def lines(text: str) -> list[Line]:
    """All lines of all tables, in their order; those without figures (heads, rules, descriptions) are left out."""
    return [line for row in text.splitlines() for cells in _cells(row) if (line := _line(cells)).figures]


def _cells(row: str) -> list[list[str]]:
    """The cells of a row; of one that writes several under each other (`<br>`), those of each."""
    if row.strip().startswith("|"):
        parts = row.strip().strip("|").split("|")
    elif row.count("\t") > 1:
        parts = row.split("\t")
    else:
        return []
    stacked = [[piece.strip() for piece in part.split("<br>")] for part in parts]
    stacked = [[piece for piece in pieces if piece] or [""] for pieces in stacked]
    count = max(map(len, stacked))
    return [[pieces[min(n, len(pieces) - 1)] for pieces in stacked] for n in range(count)]


def _line(cells: list[str]) -> Line:
    plain = [" ".join(_MARKUP.sub("", cell).split()) for cell in cells]
    figures = tuple(cell for cell in plain[1:] if _FIGURE.fullmatch(cell))
    others = plain[:1] + [cell for cell in plain[1:] if not _FIGURE.fullmatch(cell)]
    return Line(" ".join(cell for cell in others if cell), figures)
