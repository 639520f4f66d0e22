"""Limits of what a tracking server may answer: an endless reply must not fill the memory of a training.

MLflow reads every reply whole, however long it is; its time limit is one between two parts.
"""

import functools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

#: The longest useful replies are a curve's points: 25,000 on a page, some 100 bytes each.
MOST_BYTES = 32_000_000
MOST_SECONDS = 60.0


@functools.cache
def limit(thread: str) -> None:
    """Limit the replies to `requests` in all threads of this name; those of other threads stay as they are.

    A reply that is too long raises `requests.exceptions.RequestException`, which MLflow treats as a broken connection.
    """
    from requests.adapters import HTTPAdapter
    from urllib3.response import HTTPResponse

    build, drain = HTTPAdapter.build_response, HTTPResponse.drain_conn

    def here() -> bool:
        return threading.current_thread().name == thread

    @functools.wraps(build)
    def limited(self: HTTPAdapter, *words: Any) -> Any:
        response = build(self, *words)
        if here():
            response.iter_content = functools.partial(_read, response.iter_content, time.monotonic())
        return response

    @functools.wraps(drain)
    def dropped(self: HTTPResponse) -> None:
        # Before urllib3 tries again it would read the rest of a failed reply, for the connection's sake.
        self.close() if here() else drain(self)

    HTTPAdapter.build_response, HTTPResponse.drain_conn = limited, dropped


def _read(read: Callable[..., Iterator[bytes]], began: float, *words: Any, **more: Any) -> Iterator[bytes]:
    """The parts of a reply's body, unpacked, up to the limits."""
    # Not ContentDecodingError: after that one, requests reads the body of a redirection again, without a limit.
    from requests.exceptions import RequestException

    total = 0
    for part in read(*words, **more):
        total += len(part)
        if total > MOST_BYTES:
            raise RequestException(f"the server's reply is longer than {MOST_BYTES / 1e6:g} MB")
        if time.monotonic() - began > MOST_SECONDS:
            raise RequestException(f"the server's reply takes longer than {MOST_SECONDS:g} s")
        yield part
