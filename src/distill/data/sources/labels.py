"""Gold labels as they stand in files and data sets: names of classes, numbers, or none.

A row without a gold label can neither be learnt from nor scored. Data sets keep such rows all the same: null; -1 beside
the hub's classes (`hub.ClassLabel`); "-" where annotators disagreed (SNLI, Bowman et al. 2015, arXiv 1508.05326).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

from distill.data.sources.squad_json import encodable, fail, show

#: What stands for "no label" in a column of names, where it is no class itself.
DASH, MINUS_ONE = "-", "-1"

# Names of so many digits are sorted as numbers; Python reads no number of more than 4,300.
_DIGITS = 100


#: A class, or a position, that nobody has labelled; the number of a regression is then NaN.
UNLABELLED = -100


def class_name(value: Any, column: str, file: str, at: str) -> str | None:
    """The name of a class; None where there is no label.

    Args:
        value: a name or a whole number; booleans are the classes false and true.
        column: the label's column. file, at: file and place in it, for the message.

    Raises:
        UserError: the value is neither, or blank.
    """
    if is_missing(value):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():  # whole numbers become floats where some are missing
        value = int(value)
    if not isinstance(value, (str, int)) or not str(value).strip():
        fail(file, f"{at}, column {show(column)}", f"is {show(value)}", "a class is a name or a whole number")
    return encodable(str(value).strip(), file, f"{at}, column {show(column)}")


def number(value: Any, column: str, file: str, at: str) -> float | None:
    """The number of a row in regression; None where there is no label. Arguments as for `class_name`.

    Raises:
        UserError: the value is no finite number.
    """
    if is_missing(value):
        return None
    try:
        # float() would also take 1_000 and true.
        result = math.nan if isinstance(value, bool) or "_" in str(value) else float(value)
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    if not math.isfinite(result):
        fail(file, f"{at}, column {show(column)}", f"is {show(value)}", "task regression needs a finite number")
    return result


def placeholders(names: Collection[str], classes: Sequence[str] | None) -> set[str]:
    """Which of "-" and "-1" mean "no label".

    Args:
        names: all values of the training data's label column.
        classes: the classes, where they are known; whatever is among them is one.

    Returns:
        without `classes`: "-" unless it would leave fewer than two classes or stands beside "+"; "-1" where the others
        are 0, 1, 2 and so on, three or more, or where only other splits have it: -1, 0 and 1 may be three classes.
    """
    if classes:
        return {DASH, MINUS_ONE} - set(classes)
    others = set(names) - {DASH}
    chosen = {DASH} if len(others) > 1 and "+" not in others else set()
    numbered = others - {MINUS_ONE}
    if MINUS_ONE not in others or (len(numbered) > 2 and numbered == {str(i) for i in range(len(numbered))}):
        chosen.add(MINUS_ONE)
    return chosen


def ordered(names: Collection[str]) -> tuple[str, ...]:
    """Classes in order: as numbers where all are."""
    are_numbers = all(name.isdecimal() and len(name) <= _DIGITS for name in names)
    return tuple(sorted(names, key=int if are_numbers else None))


def describe(classes: Sequence[str], counts: Sequence[int], most: int = 20) -> str:
    """Classes with their numbers of rows, in order, in one line.

    Args:
        classes, counts: names and numbers of rows, as many.
        most: classes to list; of those after them only the fewest and the most rows.
    """
    # A class that no row of the split has may stand at the end: np.bincount does not count it.
    counts = [*counts, *[0] * (len(classes) - len(counts))]
    listed = [f"{show(name)} {count:,}" for name, count in zip(classes[:most], counts, strict=False)]
    if further := counts[most:]:
        listed.append(f"and {len(further):,} more of {min(further):,} to {max(further):,} each")
    return ", ".join(listed)


def is_missing(value: Any) -> bool:
    """Whether a value says that there is no label: null, or NaN, which tables have for it."""
    return value is None or (isinstance(value, float) and math.isnan(value))
