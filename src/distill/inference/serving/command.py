"""Serve a model over HTTP: `python -m distill.serve data/export/kd/1`. See docs/taking-it-away.md."""

from __future__ import annotations

import argparse
import ipaddress
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial

import uvicorn

from distill.errors import UserError
from distill.inference import cli, verbs
from distill.inference.serving.app import Limits, build
from distill.inference.serving.batching import Batcher


def main(words: Sequence[str]) -> None:
    """Serve until SIGTERM or Ctrl-C; what was accepted until then is answered."""
    options = _parser().parse_args(words)
    limits = _limits(options)
    # A signal while the model is loaded, and the one that uvicorn hands on after it has shut down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with _listening(options.host, options.port) as listener:
        path = cli.model_path(options.model)
        model = verbs.load_model(path, options.int8, options.runtime)
        able = {verb.name: verb for verb in verbs.of_task(model.settings.task)}
        batcher = Batcher(
            {name: partial(verb.ask, model) for name, verb in able.items()},
            limits.batch,
            limits.wait / 1000,
            limits.queue,
        )
        loopback = _is_loopback(options.host)
        hosts = ["localhost", "127.0.0.1", "[::1]", "::1", options.host.lower()] if loopback else None
        app = build(able, model.settings, batcher, limits, hosts)
        config = uvicorn.Config(app, log_level="warning", access_log=False, backlog=_BACKLOG)
        print(f"{path}: {model.settings.task}: serving at {_address(listener)} (/docs says how)", flush=True)
        uvicorn.Server(config).run([listener])


# Connections that may wait for the server to accept them.
_BACKLOG = 2_048


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m distill.serve", description="Serve a model over HTTP.")
    where = f"an exported folder, a checkpoint or a hub id (default: the only one below {cli.EXPORTS})"
    parser.add_argument("model", nargs="?", help=where)
    cli.add_forms(parser)
    shown = "(default: %(default)s)"
    parser.add_argument("--host", default="127.0.0.1", help=f"address to listen at {shown}: this machine only")
    parser.add_argument("--port", type=int, default=8000, help=f"{shown}; 0: a free one")
    limits = parser.add_argument_group("limits")
    limits.add_argument("--max-bytes", type=int, default=4_000_000, metavar="N", help=f"of a request {shown}")
    limits.add_argument("--max-texts", type=int, default=256, metavar="N", help=f"of a request {shown}")
    limits.add_argument("--max-characters", type=int, default=100_000, metavar="N", help=f"of a text {shown}")
    limits.add_argument("--queue", type=int, default=2_048, metavar="N", help=f"texts that may wait {shown}")
    limits.add_argument("--batch", type=int, default=64, metavar="N", help=f"texts answered together {shown}")
    limits.add_argument(
        "--wait", type=float, default=3, metavar="MS", help=f"milliseconds that a request waits for others {shown}"
    )
    return parser


def _limits(options: argparse.Namespace) -> Limits:
    for name in ("max_bytes", "max_texts", "max_characters", "queue", "batch"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name.replace('_', '-')}: {getattr(options, name)}: give 1 or more")
    if not 0 <= options.port < 1 << 16:  # getaddrinfo would take the last 16 bits
        raise UserError(f"--port: {options.port}: give 0 to 65535")
    if not 0 <= options.wait <= 10_000:
        raise UserError(f"--wait: {options.wait}: give 0 to 10000 milliseconds")
    if options.queue < options.max_texts:
        raise UserError(f"--queue: {options.queue}: less than --max-texts {options.max_texts}: give that or more")
    return Limits(
        bytes=options.max_bytes,
        texts=options.max_texts,
        characters=options.max_characters,
        queue=options.queue,
        batch=options.batch,
        wait=options.wait,
    )


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens: before the model is loaded, so that a busy port is said at once."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, OverflowError, UnicodeError) as error:
        # create_server adds the address to the system's own words.
        reason = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        raise UserError(f"--host {host} --port {port}: cannot listen ({reason}): name another by --port") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _address(listener: socket.socket) -> str:
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
