"""Sends what MLflow's store did not get while stages were at work, as the next stage would.

python -m pipeline.commands.send_runs
"""

from __future__ import annotations

import sys
from pathlib import Path

from distill.errors import UserError
from distill.tracking import late, store
from distill.tracking.spool import FOLDER
from pipeline.process import command


def main(root: Path) -> None:
    """Send the runs that wait in the repository `root` for the store of MLFLOW_TRACKING_URI.

    Raises:
        UserError: a run could not be sent; it is kept.
    """
    problems: list[str] = []
    try:
        sent = late.send_all(root.resolve(), problems.append)
    except ImportError as error:
        raise UserError(f"runs wait in {FOLDER}, and MLflow is missing: {store.remedy('', error)}") from None
    if sent:
        print(f"sent {sent} {'run' if sent == 1 else 'runs'} to MLflow", flush=True)
    if problems:
        raise UserError("; ".join(problems))


if __name__ == "__main__":
    sys.exit(command.run(main, Path.cwd()))
