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
    """A tqdm bar; without a terminal a line every 15 seconds, and none for work that ends sooner.

    Args:
        shown: whether to print anything; false for all but the first of several processes.
    """
    on_terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        disable=not shown,
        desc=f"  {label}" if on_terminal else label,
        initial=initial,
        unit=f" {unit}",
        file=sys.stderr if on_terminal else _Lines(),
        mininterval=0.3 if on_terminal else 15,
        maxinterval=10 if on_terminal else 60,
        delay=0 if on_terminal else 15,
        dynamic_ncols=on_terminal,
        ncols=None if on_terminal else 100,
        position=None if on_terminal else 0,  # a bar within a bar moves the cursor, which a log has none of
        leave=False,
    )
