"""A server that answers without end costs neither memory nor time."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from distill.tracking import replies, store
from distill.tracking.run import start_run

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # SQLAlchemy of MLflow
BLOCK = b'{"a": "' + b"x" * 65_536
BOMB = gzip.compress(b"[" * 50_000_000)


def endless(block: bytes) -> Iterator[bytes]:
    while True:
        yield block


def chunked(block: bytes) -> Iterator[bytes]:
    for part in endless(block):
        yield f"{len(part):x}\r\n".encode() + part + b"\r\n"


REPLIES = {
    "a body without a length": (b"200 OK\r\nContent-Type: application/json", lambda: endless(BLOCK)),
    "chunks": (b"200 OK\r\nTransfer-Encoding: chunked", lambda: chunked(BLOCK)),
    "an error": (b"500 Internal Server Error", lambda: endless(BLOCK)),
    "a refusal": (b"404 Not Found", lambda: endless(BLOCK)),
    "a redirection": (b"302 Found\r\nLocation: /elsewhere", lambda: endless(BLOCK)),
    "a packed body": (b"200 OK\r\nContent-Encoding: gzip", lambda: iter([BOMB])),
    "headers": (b"200 OK", lambda: endless(b"X-More: 1\r\n" * 1000)),
}


class Endless:
    """A server that sends a reply for as long as somebody reads.

    Attributes:
        sent: bytes that it has sent, over all connections.
    """

    def __init__(self, kind: str):
        self.head, self.parts = REPLIES[kind]
        self.sent = 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.head = b"HTTP/1.1 " + self.head + (b"\r\n" if kind == "headers" else b"\r\n\r\n")
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                connection = self.socket.accept()[0]
            except OSError:  # closed
                return
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65_536)
                connection.sendall(self.head)
                for part in self.parts():
                    connection.sendall(part)
                    self.sent += len(part)
            except OSError:
                return


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(replies, "MOST_BYTES", 2_000_000)


@pytest.mark.parametrize("kind", REPLIES)
def test_an_endless_reply_is_read_up_to_a_limit(kind, tmp_path, monkeypatch, capfd):
    server = Endless(kind)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    begin = time.perf_counter()
    with server.socket, start_run(root=tmp_path, experiment="distill", name="stage", close_timeout=30) as run:
        run.log({"loss": 1}, step=0)
    assert time.perf_counter() - begin < 20
    run._thread.join(20)  # a busy machine may be unpacking what it has read
    assert not run._thread.is_alive()
    assert server.sent < 40_000_000  # two requests of two attempts, and what the kernel takes in advance
    (line,) = capfd.readouterr().err.splitlines()
    assert server.uri in line and len(line) < 700
    assert ("longer than 2 MB" in line) == (kind not in ("an error", "headers")), line


def test_a_reply_that_drips_ends_too(monkeypatch):
    monkeypatch.setattr(replies, "MOST_SECONDS", 0.05)

    def drip(size: int) -> Iterator[bytes]:
        while True:
            time.sleep(0.02)
            yield b"x"

    with pytest.raises(OSError, match="takes longer than 0.05 s"):
        list(replies._read(drip, time.monotonic(), 10))


def test_replies_to_other_threads_are_whole(monkeypatch):
    """A data set of the hub may be as long as it likes."""
    import requests

    store.import_mlflow()
    content = json.dumps("x" * 3_000_000).encode()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + content)

        threading.Thread(target=answer, daemon=True).start()
        assert len(requests.get(f"http://127.0.0.1:{server.getsockname()[1]}", timeout=20).content) == len(content)
