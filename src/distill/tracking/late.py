"""Runs that a store has not got, sent by the thread of a later run, or by `python -m pipeline.commands.send_runs`."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path

from distill.tracking import spool, store
from distill.tracking.records import Details
from distill.tracking.session import Session

MOST_FAILURES = 3
# A request with one of these will fail for ever.
_REFUSED = ("BAD_REQUEST", "INVALID_PARAMETER_VALUE", "MALFORMED_REQUEST", "INVALID_STATE")


class Sender:
    """Sends what waits in the spool of a repository, one run at a time.

    Attributes:
        sent: number of runs that the store has got.
    """

    def __init__(self, root: Path, uri: str, warn: Callable[[str], None]) -> None:
        self.sent = 0
        self._root, self._uri, self._warn = root, uri, warn
        self._failed: set[Path] = set()

    def send_next(self) -> bool:
        """Send the oldest run that waits; False where there is none, or the store has failed again and again."""
        if len(self._failed) >= MOST_FAILURES:
            return False
        for entry in spool.waiting(self._root, self._uri):
            if entry.folder not in self._failed:
                self._send(entry)
                return True
            entry.release()
        return False

    def _send(self, entry: spool.Entry) -> None:
        from mlflow.exceptions import MlflowException

        try:
            problems = _session(entry).send(_calls(entry))
        except Exception as error:  # no error of tracking may end the training
            self._failed.add(entry.folder)
            if isinstance(error, MlflowException) and error.error_code in _REFUSED:
                self._warn(f"{entry.name} is refused ({store.reason(error)}): kept in {entry.refuse()}")
            else:
                self._warn(f"{entry.name} still waits in {spool.FOLDER} ({store.reason(error)})")
                entry.release()
            return
        for problem in problems:
            self._warn(f"{entry.name}: {problem}")
        entry.remove()
        self.sent += 1


def _session(entry: spool.Entry) -> Session:
    spec, details, run_id = (getattr(entry.description, name) for name in ("spec", "details", "run_id"))
    if entry.end() == "FINISHED":
        # The scratch folder is gone; one in its place belongs to another run of the stage.
        spec = dataclasses.replace(spec, state=None)
    session = Session(spec, details or Details(), run_id, again=True, late=True)
    entry.describe(run_id=session.run_id)
    return session


def _calls(entry: spool.Entry) -> list[tuple]:
    """The calls, with an end: that of a killed process is the time of its last point."""
    calls = entry.calls()
    if entry.end() is None:
        times = [call[3] for call in calls if call[0] == "metrics"]
        calls.append(("end", "KILLED", max(times, default=entry.description.spec.started)))
    return calls


def send_all(root: Path, warn: Callable[[str], None]) -> int:
    """Send all runs that wait for the store of `MLFLOW_TRACKING_URI`; returns how many it has got.

    Raises:
        ImportError: MLflow is not installed.
    """
    uri = store.store_uri(root)
    sender = Sender(root, uri, warn)
    if not any(entry.release() or True for entry in spool.waiting(root, uri)):
        return 0
    # Replies are limited in a thread of this name.
    with concurrent.futures.ThreadPoolExecutor(1, store.THREAD, _take_name) as pool:
        pool.submit(_work, sender, uri, warn).result()
    return sender.sent


def _take_name() -> None:
    threading.current_thread().name = store.THREAD


def _work(sender: Sender, uri: str, warn: Callable[[str], None]) -> None:
    store.import_mlflow()
    try:
        store.create_database(uri)
    except Exception as error:  # whatever MLflow or SQLAlchemy raise: nothing is lost
        warn(f"runs still wait in {spool.FOLDER} ({store.reason(error)}). {store.remedy(uri, error)}")
        return
    while sender.send_next():
        pass
