"""The queue: what is answered together, what is refused, and that nothing is lost."""

import threading
import time

import pytest

from distill.errors import UserError
from distill.inference.serving.batching import Batcher, QueueFull


class Asked:
    """A function that keeps the batches it was called with, and can be made to wait."""

    def __init__(self) -> None:
        self.batches, self.open, self.begun = [], threading.Event(), threading.Event()
        self.open.set()

    def __call__(self, rows):
        self.begun.set()
        self.open.wait(10)
        self.batches.append([row["n"] for row in rows])
        if any(row["n"] == "bad" for row in rows):
            raise UserError("text 1: bad")
        if any(row["n"] == "broken" for row in rows):
            raise ZeroDivisionError
        return [{"n": row["n"]} for row in rows]


def rows(*numbers) -> list[dict]:
    return [{"n": number} for number in numbers]


@pytest.fixture
def asked():
    return Asked()


@pytest.fixture
def batcher(asked):
    made = Batcher({"a": asked, "b": asked}, batch_texts=4, wait=0.2, queue_texts=8)
    yield made
    asked.open.set()
    made.close()


def test_requests_that_come_while_the_model_works_are_answered_together(asked, batcher):
    asked.open.clear()
    first = batcher.submit("a", rows(0, 1, 2, 3), 4)
    assert asked.begun.wait(5)
    later = [batcher.submit(*request) for request in (("a", rows(4), 1), ("a", rows(5, 6), 2), ("a", rows(7, 8), 2))]
    other = batcher.submit("b", rows(9), 1)
    asked.open.set()
    assert first.result(5) == rows(0, 1, 2, 3)
    assert [future.result(5) for future in [*later, other]] == [rows(4), rows(5, 6), rows(7, 8), rows(9)]
    # A batch has four texts at most, and one verb.
    assert asked.batches == [[0, 1, 2, 3], [4, 5, 6], [7, 8], [9]]


def test_the_earliest_request_waits_a_little_for_others_and_no_longer(asked, batcher):
    futures = [batcher.submit("a", rows(number), 1) for number in range(2)]
    start = time.monotonic()
    assert [future.result(5) for future in futures] == [rows(0), rows(1)] and asked.batches == [[0, 1]]
    assert time.monotonic() - start < 3


def test_a_bad_row_is_refused_alone_and_a_failure_ends_no_thread(asked, batcher):
    (first, refused), last = batcher.submit("a", rows(1, "bad"), 2).result(5), batcher.submit("a", rows(2), 1)
    assert first == {"n": 1} and str(refused) == "bad" and last.result(5) == rows(2)
    with pytest.raises(ZeroDivisionError):
        batcher.submit("a", rows("broken"), 1).result(5)
    assert batcher.submit("a", rows(3), 1).result(5) == rows(3)


def test_a_full_queue_refuses_and_a_closed_one_answers_what_it_has(asked, batcher):
    asked.open.clear()
    taken = [batcher.submit("a", rows(0), 1)]
    assert asked.begun.wait(5)
    taken += [batcher.submit("a", rows(number), 4) for number in (1, 2)]
    gone = taken.pop()
    gone.cancel()
    with pytest.raises(QueueFull):
        batcher.submit("a", rows(3), 1)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    asked.open.set()
    closing.join(5)
    assert [future.result(0) for future in taken] == [rows(0), rows(1)] and asked.batches == [[0], [1]]
    with pytest.raises(QueueFull):
        batcher.submit("a", rows(4), 1)
