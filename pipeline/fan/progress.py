"""What a fan-out shows while it runs: a table on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipeline.fan.journal import Running


class Progress:
    """Shows jobs; use it in a `with` statement.

    Args:
        price: cost of a slot per hour; 0: none is shown.
        slots: number of jobs at once.
    """

    def __init__(self, price: float, slots: int):
        self._console = Console(highlight=False, soft_wrap=True)
        self._price, self._slots = price, slots
        self._live = Live(console=self._console, refresh_per_second=2) if self._console.is_terminal else None
        self._begun, self._spent_seconds, self._bytes, self._done = time.time(), 0.0, 0, 0

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()
        self.say(self.summary([]))

    def say(self, line: str) -> None:
        """A line that stays."""
        self._console.print(line, markup=False)

    def before(self, seconds: float, moved_bytes: int) -> None:
        """A job was done and handed in before this command began: an earlier one paid for it."""
        self._spent_seconds += seconds
        self._bytes += moved_bytes
        self._done += 1

    def ended(self, item: Running, what: str, moved_bytes: int = 0) -> None:
        """A job has ended: `done`, `lost` or `failed`."""
        seconds = time.time() - item.begun
        self._spent_seconds += seconds
        self._bytes += moved_bytes
        self._done += what == "done"
        so_far = f", cost so far {self._cost(self._spent_seconds):,.2f}" if self._price and not self._live else ""
        self.say(f"{item.job.name}: {what} after {duration(seconds)}{so_far}")

    def show(self, running: Iterable[tuple[Running, str]], waiting: int) -> None:
        """The table as it is now.

        Args:
            running: jobs and the word of their state.
            waiting: number of stages that are missing and in no running job.
        """
        if not self._live:
            return
        items = list(running)
        table = Table(title=self.summary([item for item, _ in items]), caption=f"{waiting} stages wait")
        for name in ("job", "stages", "state", "for"):
            table.add_column(name)
        for item, word in items:
            table.add_row(item.job.name, str(len(item.job.stages)), word, duration(time.time() - item.begun))
        self._live.update(table)

    def summary(self, running: list[Running]) -> str:
        """Jobs, time, bytes and cost so far."""
        busy = self._spent_seconds + sum(time.time() - item.begun for item in running)
        parts = [f"{self._done} jobs done", duration(time.time() - self._begun), f"{duration(busy)} of slots"]
        parts += [f"{self._bytes / 1e6:,.1f} MB moved"] if self._bytes else []
        parts += [f"cost {self._cost(busy):,.2f}"] if self._price else []
        return ", ".join(parts)

    def _cost(self, seconds: float) -> float:
        return seconds / 3600 * self._price


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds, of a time in seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
