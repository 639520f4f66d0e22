"""Measures `distill.serve` under load, on this machine: latency of concurrent clients, and whether an answer is lost.

    python -m benchmarks.serve data/export/kd/1 --clients 200 --requests 10

A server process of its own listens on loopback. Every client has a connection and sends its next request when it has
the answer of the last one. Texts are random words of the model's vocabulary. Every answer is compared with that of the
function called directly.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from distill.errors import UserError
from distill.inference import verbs
from pipeline.process import command

Body = dict[str, Any]


@contextmanager
def server(model: str, *options: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """A server process, and its address; it is ended afterwards."""
    command = [sys.executable, "-m", "distill.serve", model, "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    try:
        line = process.stdout.readline()
        if " serving at " not in line:
            raise UserError(f"{model}: the server did not start: {line.strip() or 'see above'}")
        yield process, line.split(" serving at ")[1].split()[0]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def post(address: str, path: str, body: Body) -> tuple[int, Body]:
    """Status and content of an answer, over a connection of its own."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=120)
    try:
        return _sent(connection, path, body)
    finally:
        connection.close()


def ask_all(address: str, path: str, bodies: Sequence[Sequence[Body]]) -> list[list[tuple[float, int, Body]]]:
    """Seconds, status and content of all answers.

    Args:
        bodies: of each client the requests, which it sends one after another; all clients begin at the same time.
    """
    results: list[list[tuple[float, int, Body]]] = [[] for _ in bodies]
    begin = threading.Barrier(len(bodies))

    def client(number: int) -> None:
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=120)
        connection.connect()
        begin.wait()
        for body in bodies[number]:
            start = time.perf_counter()
            status, content = _sent(connection, path, body)
            results[number].append((time.perf_counter() - start, status, content))
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def _sent(connection: http.client.HTTPConnection, path: str, body: Body) -> tuple[int, Body]:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def alike(left: Any, right: Any) -> bool:
    """Whether two results are the same, numbers within 1e-4: a row is padded as those beside it need."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(alike(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(alike, left, right))
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, abs_tol=1e-4)
    return left == right


def _row(verb: verbs.Verb, words: Sequence[str], most: int, pairs: bool | None, draw: random.Random) -> Body:
    names = [name for name, field in verb.fields.items() if field.type is str and (field.required or pairs)]
    return {name: " ".join(draw.choices(words, k=draw.randint(3, most))) for name in names}


def main(argv: list[str] | None = None) -> None:
    """Print the figures.

    Raises:
        UserError: the server does not start, or an answer was lost or is another one than the function gives.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description="Measure distill.serve under load.")
    parser.add_argument("model", help="an exported folder or a checkpoint")
    parser.add_argument("--clients", type=int, default=200, metavar="N")
    parser.add_argument("--requests", type=int, default=10, metavar="N", help="of each client (default: 10)")
    parser.add_argument("--words", type=int, default=40, metavar="N", help="most words of a text (default: 40)")
    options = parser.parse_args(argv)
    model = verbs.load_model(options.model)
    verb = verbs.of_task(model.settings.task)[0]
    draw = random.Random(0)
    words = sorted(word for word in model.tokenizer.get_vocab() if word.isalnum())[:5_000]
    rows = [
        [_row(verb, words, options.words, model.settings.pairs, draw) for _ in range(options.requests)]
        for _ in range(options.clients)
    ]
    with server(options.model) as (_, address):
        post(address, f"/{verb.name}", {"rows": rows[0][:1]})  # the first forward pass sets up memory
        start = time.perf_counter()
        results = ask_all(address, f"/{verb.name}", [[{"rows": [row]} for row in of_client] for of_client in rows])
        seconds = time.perf_counter() - start
    flat = [answer for of_client in results for answer in of_client]
    expected = verb.ask(model, [row for of_client in rows for row in of_client])
    if len(flat) != len(expected) or any(status != 200 for _, status, _ in flat):
        raise UserError(
            f"{len(expected) - sum(status == 200 for _, status, _ in flat)} of {len(expected)} answers lost"
        )
    wrong = sum(not alike(content["results"][0], right) for (_, _, content), right in zip(flat, expected, strict=True))
    p50, p99 = np.percentile([1000 * latency for latency, _, _ in flat], [50, 99])
    print(f"{len(flat):,} requests of {options.clients} clients: {len(flat) / seconds:,.0f} a second")
    print(f"p50 {p50:,.0f} ms, p99 {p99:,.0f} ms; lost 0, other than the function's {wrong}")
    if wrong:
        raise UserError(f"{wrong} of {len(flat)} answers differ from the function's")


if __name__ == "__main__":
    sys.exit(command.run(main))
