"""MLflow's store: its address, safe ways to open and write it, and messages for when it fails.

Importing this module is cheap; `import_mlflow` is not.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from distill.tracking import replies
from distill.tracking.names import TAG_LENGTH, clean_key, shorten
from distill.tracking.redaction import redact, shown

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

LOCK_SECONDS = 60
THREAD = "tracking"  # the name of the thread that talks to the store

# Only where the user has set nothing: by default a client tries a dead server for minutes, prints each
# run's address and reports its use to a third party.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # a repeated request to create a run makes two: see `is_remote`
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def store_uri(root: Path) -> str:
    """The store of MLFLOW_TRACKING_URI, else `<root>/mlflow.db`; SQLite paths made absolute."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    if uri.startswith("sqlite:///"):
        return f"sqlite:///{root / uri.removeprefix('sqlite:///')}"
    return uri


def is_remote(uri: str) -> bool:
    """Whether a server is asked, so that a request may fail by chance."""
    return uri.startswith(("http://", "https://", "databricks"))


def reason(error: BaseException) -> str:
    """The innermost cause in one short line: the outer messages are long and vague."""
    while not isinstance(error, ModuleNotFoundError):
        if (inner := error.__cause__ or error.__context__) is None:
            break
        error = inner
    line = " ".join(str(error).split("\n", 1)[0].split()) or "no message"
    # Cut last: of a secret that is cut in two, nobody knows that it is one.
    return shorten(redact(f"{type(error).__name__}: {line}"), 220).rstrip(".")


def remedy(uri: str, error: BaseException | None = None) -> str:
    """What the user can do about a store that fails."""
    if isinstance(error, ModuleNotFoundError):  # MLflow, or the driver of a database
        return f"Install it (pip install {str(error.name).split('.')[0]})"
    if uri.startswith(("http://", "https://")):
        return "Start that server, unset MLFLOW_TRACKING_URI"
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return "Check MLFLOW_TRACKING_URI and the store behind it"
    return "Check that this file can be read and written"


def import_mlflow() -> None:
    """Import MLflow (1-2 s) and silence it.

    Raises:
        ImportError: it is not installed.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("urllib3.connectionpool").addFilter(_is_foreign)
    replies.limit(THREAD)
    import mlflow.tracking  # noqa: F401

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def create_database(uri: str) -> None:
    """Make the SQLite database of `uri` where there is none (1-2 s; nothing to do for any other store).

    It appears whole, in one step: a process that ends during MLflow's migrations would leave one that is broken for
    good.
    """
    database = _database(uri)
    if database is None or database.exists():
        return
    from mlflow.tracking import MlflowClient

    with lock(uri):
        draft = database.with_name(f"{database.name}.new")
        # The journal of a draft that was left half-made would be applied to the next one.
        for leftover in (draft, draft.with_name(f"{draft.name}-journal")):
            leftover.unlink(missing_ok=True)
        if not database.exists():
            MlflowClient(uri.replace(str(database), str(draft), 1)).search_experiments(max_results=1)
            draft.rename(database)


def log_batch(
    client: "MlflowClient",
    run_id: str,
    *,
    metrics: "Sequence[Metric]" = (),
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Log to a run, in as few requests as MLflow's limits allow; long tags are cut.

    It is synchronous even if MLFLOW_ENABLE_ASYNC_LOGGING is set: see `distill.tracking.run`.

    Args:
        params: names that MLflow accepts and the run does not have yet.
    """
    from mlflow.entities import Param, RunTag

    client.log_batch(
        run_id,
        metrics,
        [Param(key, value) for key, value in (params or {}).items()],
        [RunTag(clean_key(key), shorten(value, TAG_LENGTH)) for key, value in (tags or {}).items()],
        synchronous=True,
    )


def lock(uri: str) -> FileLock:
    """A lock of this machine: two processes at once would each make the same database, experiment or parent."""
    if database := _database(uri):
        return FileLock(f"{database}.lock", LOCK_SECONDS)
    mark = hashlib.blake2b(shown(uri).encode(), digest_size=8).hexdigest()
    return FileLock(Path(tempfile.gettempdir()) / f"distill-{os.getuid()}-{mark}.lock", LOCK_SECONDS)


def _database(uri: str) -> Path | None:
    """The file of an SQLite store."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])


def _is_foreign(record: logging.LogRecord) -> bool:
    """False for urllib3's warnings of each retry in the tracking thread, so that only those are silenced."""
    return record.threadName != THREAD
