"""Browse the runs in MLflow until Ctrl-C: `python -m pipeline.commands.ui [--port 5000]`, or `make ui`.

Runs that MLflow has not got are sent first (`pipeline.commands.send_runs`).
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

from distill.errors import UserError
from pipeline.commands import send_runs
from pipeline.process import command


def main(argv: list[str] | None = None) -> int:
    """Serve MLflow's pages from mlflow.db; returns the server's exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.commands.ui", description=__doc__)
    parser.add_argument("--port", type=int, default=5000)
    options = parser.parse_args(argv)
    try:
        send_runs.main(Path.cwd())
    except UserError as error:  # what is there already can be looked at
        print(f"error: {error}", file=sys.stderr)
    server = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", "sqlite:///mlflow.db"]
    server += ["--port", str(options.port), "--workers", "1"]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # In a session of its own: at Ctrl-C its processes would each print how far they had got.
    with subprocess.Popen(server, env=environment, start_new_session=True) as process:
        try:
            return process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise


if __name__ == "__main__":
    sys.exit(command.run(main))
