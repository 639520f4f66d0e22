"""Real server processes on loopback: under load, at shutdown, and where they cannot start."""

import json
import re
import signal
import socket
import threading
import time
import urllib.request

import pytest

from benchmarks import serve
from distill.errors import UserError
from distill.inference import answer, verbs
from distill.inference.serving import command
from tests.helpers import exported, micro


@pytest.fixture(autouse=True)
def sources(monkeypatch):
    for name, value in micro.environment(PYTHONPATH=str(micro.ROOT / "src")).items():
        monkeypatch.setenv(name, value)


def test_two_hundred_clients_get_what_the_function_says(tmp_path, capsys):
    folder = exported.classifier(tmp_path / "export", ["bad", "fair", "good"])
    serve.main([folder, "--clients", "200", "--requests", "2", "--words", "9"])
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("400 requests of 200 clients: ")
    assert re.fullmatch(r"p50 [\d,]+ ms, p99 [\d,]+ ms; lost 0, other than the function's 0", second)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ({"a": [1.0, "x"], "b": None}, {"a": [1.00005, "x"], "b": None}, True),
        ({"a": [1.0, "x"]}, {"a": [1.001, "x"]}, False),
        ({"a": [1.0, "x"]}, {"a": [1.0, "y"]}, False),
        ({"a": [1.0]}, {"a": [1.0, 2.0]}, False),
        ({"a": 1.0}, {"b": 1.0}, False),
        ({"a": 1.0}, {"a": None}, False),
        ({"error": "x"}, {"label": "x"}, False),
    ],
)
def test_the_benchmark_tells_answers_apart(left, right, same):
    assert serve.alike(left, right) is same


def test_what_was_accepted_is_answered_after_sigterm(tmp_path):
    folder = exported.answerer(tmp_path / "export")
    rows = [{"id": i, "question": f"w{i}?", "context": f"w{i} w9 w{i + 3} " * (1 + 5 * i)} for i in range(5)]
    results = {}
    with serve.server(folder, "--wait", "1500") as (process, address):

        def client(row):
            results[row["id"]] = serve.post(address, "/answer", {"rows": [row]})

        threads = [threading.Thread(target=client, args=(row,)) for row in rows]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 30
        while json.load(urllib.request.urlopen(f"{address}/health"))["waiting"] < 5 and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(30)
        assert process.wait(30) == 0
    model = verbs.load_model(folder)
    for row in rows:
        (expected,) = answer.VERB.ask(model, [row])
        status, content = results[row["id"]]
        assert status == 200 and serve.alike(content["results"], [{"id": row["id"]} | expected])


def test_a_busy_port_and_a_wrong_folder_are_said_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # SIGTERM stays that of the tests
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(
            UserError, match=rf"--host 127.0.0.1 --port {port}: cannot listen \(Address already in use\)"
        ):
            command.main([str(tmp_path), "--port", str(port)])
    with pytest.raises(UserError, match="cannot be loaded"):
        command.main([str(tmp_path / "nowhere"), "--port", "0"])
    with pytest.raises(UserError, match="--port: 99999: give 0 to 65535"):
        command.main([str(tmp_path), "--port", "99999"])
    with pytest.raises(UserError, match=r"--host no\.such\.host\.invalid --port 8000: cannot listen"):
        command.main([str(tmp_path), "--host", "no.such.host.invalid"])
    with pytest.raises(UserError, match="--queue: 10: less than --max-texts 256"):
        command.main([str(tmp_path), "--queue", "10"])
    with pytest.raises(UserError, match="--batch: 0: give 1 or more"):
        command.main([str(tmp_path), "--batch", "0"])
