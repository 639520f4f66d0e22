"""Progress bars with time left: a live bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys

from tqdm import tqdm


class _Lines:
    """Turns the bar's redrawings into lines of a log."""

    def write(self, text: str) -> None:
        text = text.strip("\r\n ")
        if text:
            sys.stderr.write(f"  {text}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def bar(total: int, label: str, initial: int = 0, unit: str = "step", shown: bool = True) -> tqdm:
    """A tqdm bar; where nobody watches, a line every quarter of a minute and none for what is done sooner.

    Args:
        shown: false: a bar that says nothing, for all but the first of several processes.
    """
    watched = sys.stderr.isatty()
    return tqdm(
        total=total,
        disable=not shown,
        desc=f"  {label}" if watched else label,
        initial=initial,
        unit=f" {unit}",
        file=sys.stderr if watched else _Lines(),
        mininterval=0.3 if watched else 15,
        maxinterval=10 if watched else 60,
        delay=0 if watched else 15,
        dynamic_ncols=watched,
        ncols=None if watched else 100,
        position=None if watched else 0,  # a bar within a bar moves the cursor, which a log has none of
        leave=False,
    )
