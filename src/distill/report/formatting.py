"""Numbers as people read them. A missing value is a dash."""

from __future__ import annotations

from typing import Any

NONE = "–"
MINUS = "\N{MINUS SIGN}"


def number(value: float | None, digits: int = 2, signed: bool = False) -> str:
    """3.14159 → 3.14; signed: +3.14, −3.14."""
    if value is None:
        return NONE
    return f"{value:{'+' if signed else ''},.{digits}f}".replace("-", MINUS)


def spread(mean: float | None, std: float | None) -> str:
    """Mean ± standard deviation; the mean alone where there is one seed."""
    return number(mean) + ("" if mean is None or std is None else f" ± {number(std)}")


def interval(low: float | None, high: float | None, digits: int = 2, signed: bool = True) -> str:
    """[−0.31, +1.22]"""
    if low is None or high is None:
        return NONE
    return f"[{number(low, digits, signed)}, {number(high, digits, signed)}]"


def probability(value: float | None) -> str:
    """0.012 with three digits; < 0.001 for smaller values."""
    return NONE if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def short(value: float | None) -> str:
    """Three significant digits with a prefix of a thousand: 22,713,216 → 22.7 M."""
    if value is None:
        return NONE
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{_three(value / size)} {letter}"
    return _three(value)


def duration(seconds: float | None) -> str:
    """95.8 → 96 s; 5,400 → 1 h 30 min."""
    if seconds is None:
        return NONE
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def times(value: float | None) -> str:
    """A ratio: 4.1×."""
    return NONE if value is None else f"{_three(value)}×"


def ratio(above: float | None, below: float | None) -> float | None:
    """A quotient; None where it has no meaning."""
    return above / below if above is not None and below else None


def plural(count: int, word: str) -> str:
    """1 seed, 3 seeds."""
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def listed(names: list[Any], most: int = 6) -> str:
    """a, b and c; of more than `most`, the first ones and the number of the rest."""
    words = [str(name) for name in names]
    if len(words) > most:
        words = [*words[: most - 1], f"{len(words) - most + 1} more"]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _three(value: float) -> str:
    return f"{value:,.{0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2}f}"


def cut(text: str, length: int) -> str:
    """The text, or its beginning and an ellipsis: `length` characters at most."""
    return text if len(text) <= length else text[: length - 1] + "…"
