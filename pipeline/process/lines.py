"""The lines that a stage prints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def table(figures: Mapping[str, Any]) -> list[str]:
    """Lays out figures as lines: `name  value`, and one row per name where the values are mappings."""
    rows = {name: row for name, row in figures.items() if isinstance(row, Mapping)}
    single = {name: value for name, value in figures.items() if name not in rows}
    width = max(map(len, figures), default=0)
    lines = [f"{name:<{width}}  {_number(value):>12}" for name, value in single.items()]
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    if columns:
        widths = [max(12, len(column)) for column in columns]
        cells = [columns, *([_number(row.get(column, "")) for column in columns] for row in rows.values())]
        for label, row in zip(["", *rows], cells, strict=True):
            pairs = zip(row, widths, strict=True)
            lines.append(f"{label:<{width}}  " + " ".join(f"{cell:>{size}}" for cell, size in pairs))
    return lines


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}"


def size(path: Path) -> str:
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    total = float(sum(file.stat().st_size for file in files))
    for unit in ("bytes", "kB", "MB", "GB"):
        if total < 1000 or unit == "GB":
            break
        total /= 1000
    number = f"{total:.0f}" if unit == "bytes" else f"{total:.1f}"
    return f"{number} {unit}" + (f" in {len(files)} files" if path.is_dir() else "")


def shown_path(path: Path | str) -> str:
    """The path relative to cwd where it lies below, so that copies of the repository print the same path."""
    path = Path(path)
    inside = path.is_absolute() and path.is_relative_to(Path.cwd())
    return (path.relative_to(Path.cwd()) if inside else path).as_posix()
