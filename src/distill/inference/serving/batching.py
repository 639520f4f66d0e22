"""Rows of concurrent requests, answered together by one worker thread.

The worker takes what has come within a few milliseconds after the earliest waiting request, up to a number of rows: a
forward pass over many rows costs less than as many passes, and one thread keeps the cores from fighting for them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from distill.errors import UserError
from distill.inference.lines import Rows, ask_each

Results = list[dict[str, Any] | UserError]


class QueueFull(Exception):
    """No room for more rows, or the worker takes none any more."""


@dataclass
class _Job:
    name: str
    rows: Rows
    weight: int
    future: Future[Results] = field(default_factory=Future)


class Batcher:
    """A queue of requests and the thread that answers them.

    Args:
        asks: functions from rows to as many results, by the name of the verb; they raise a UserError where they cannot
            answer one of them, and are called by the worker only.
        batch_texts: texts of a batch; a request with more is a batch by itself.
        wait: seconds that the earliest request waits for others.
        queue_texts: texts that may wait.
    """

    def __init__(
        self, asks: dict[str, Callable[[Rows], Rows]], batch_texts: int, wait: float, queue_texts: int
    ) -> None:
        self._asks, self._batch, self._wait, self._most = asks, batch_texts, wait, queue_texts
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._closed = False
        self._changed = threading.Condition()
        self._worker = threading.Thread(target=self._work, name="model", daemon=True)
        self._worker.start()

    def submit(self, name: str, rows: Rows, weight: int) -> Future[Results]:
        """Queue the rows of a request.

        Args:
            weight: number of their texts.

        Returns:
            a future of as many results; of rows that cannot be answered, the error

        Raises:
            QueueFull: more texts would wait than may, or the queue is closed.
        """
        job = _Job(name, rows, weight)
        with self._changed:
            if self._closed or self._waiting + weight > self._most:
                raise QueueFull
            self._jobs.append(job)
            self._waiting += weight
            self._changed.notify()
        return job.future

    @property
    def waiting(self) -> int:
        """The number of texts that wait."""
        return self._waiting

    def close(self) -> None:
        """Take no more requests, and return when all that were taken are answered."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._worker.join()

    def _work(self) -> None:
        while jobs := self._next():
            jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]  # whose client has gone
            try:
                results = ask_each([row for job in jobs for row in job.rows], self._asks[jobs[0].name]) if jobs else []
            except Exception as error:  # whatever it is, the thread must live on and every request get an answer
                for job in jobs:
                    job.future.set_exception(error)
                continue
            start = 0
            for job in jobs:
                job.future.set_result(results[start : start + len(job.rows)])
                start += len(job.rows)

    def _next(self) -> list[_Job]:
        """The requests of the next batch; none: the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            until = time.monotonic() + self._wait
            while not self._closed and len(self._fitting()) == len(self._jobs) and self._waiting < self._batch:
                if (left := until - time.monotonic()) <= 0:
                    break
                self._changed.wait(left)
            taken = self._fitting()
            for job in taken:
                self._jobs.popleft()
                self._waiting -= job.weight
            return taken

    def _fitting(self) -> list[_Job]:
        """The earliest request, and those right after it of the same verb that fit into its batch."""
        fitting: list[_Job] = []
        total = 0
        for job in self._jobs:
            if fitting and (job.name != fitting[0].name or total + job.weight > self._batch):
                break
            fitting.append(job)
            total += job.weight
        return fitting
