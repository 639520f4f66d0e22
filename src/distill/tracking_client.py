"""The MLflow half of `tracking`: all that talks to a store, called from its background thread only.

Importing this module is cheap; `import_mlflow` is not.
"""

import json
import logging
import os
import posixpath
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock

PARAM_LENGTH = 500  # MLflow servers before 2.10 refuse more
TAG_LENGTH = 5000
KEY_LENGTH = 250
METRICS_PER_REQUEST = 1000  # MLflow's limits
PAIRS_PER_REQUEST = 100
LOCK_SECONDS = 60
THREAD = "tracking"  # the name of the thread that calls all this

# Only where the user has not chosen: by its own settings a client tries a dead server for minutes,
# prints each run's address and reports its use to a third party.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@dataclass(frozen=True)
class RunSpec:
    """What a run is opened with; see `tracking.start`."""

    uri: str
    root: Path
    experiment: str
    name: str
    params: dict[str, str]
    tags: dict[str, str]
    state: Path | None


def store_uri(root: Path) -> str:
    """The store of MLFLOW_TRACKING_URI, else `<root>/mlflow.db`; SQLite paths made absolute."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    if uri.startswith("sqlite:///"):
        return f"sqlite:///{root / uri.removeprefix('sqlite:///')}"
    return uri


def default_tags(name: str) -> dict[str, str]:
    """Tags that say where a run comes from, as far as the environment knows."""
    tags = {"dvc.stage": os.environ.get("DVC_STAGE") or name, "mlflow.source.name": name}
    if experiment := os.environ.get("DVC_EXP_NAME"):
        tags["dvc.exp_name"] = experiment
    return tags


def flatten(params: Any, prefix: str = "") -> dict[str, str]:
    """Nested mappings and pydantic models to `{"a.b.c": text}` that MLflow accepts."""
    if hasattr(params, "model_dump"):
        params = params.model_dump(mode="json")
    if isinstance(params, Mapping) and (params or not prefix):
        flat: dict[str, str] = {}
        for key, value in params.items():
            flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
        return flat
    if isinstance(params, (list, tuple, Mapping)):
        params = json.dumps(params, default=str, ensure_ascii=False)
    return {clean_key(prefix): shorten(str(params), PARAM_LENGTH)}


def clean_key(key: str) -> str:
    """A name that MLflow accepts for a param, metric or tag."""
    key = re.sub(r"[^/\w.\- :]", "_", key).replace("..", "__")[:KEY_LENGTH]
    return posixpath.normpath(key.strip("/") or "_")


def shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def redact(text: str) -> str:
    """`text` without the passwords of the URIs in it."""
    return re.sub(r"://([^/@:\s]*):[^/@\s]*@", r"://\1:***@", text)


def reason(error: BaseException) -> str:
    """The innermost cause in one short line: the outer messages are long and vague."""
    while not isinstance(error, ModuleNotFoundError):
        if (inner := error.__cause__ or error.__context__) is None:
            break
        error = inner
    line = " ".join(str(error).split("\n", 1)[0].split()) or "no message"
    return redact(f"{type(error).__name__}: {shorten(line, 200)}").rstrip(".")


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

    with _lock(uri):
        draft = database.with_name(f"{database.name}.new")
        # The journal of a draft that was left half-made would be applied to the next one.
        for left in (draft, draft.with_name(f"{draft.name}-journal")):
            left.unlink(missing_ok=True)
        if not database.exists():
            MlflowClient(uri.replace(str(database), str(draft), 1)).search_experiments(max_results=1)
            draft.rename(database)


def _database(uri: str) -> Path | None:
    """The file of an SQLite store."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])


def _lock(uri: str) -> AbstractContextManager:
    """Two processes that initialise one database break it, once for good."""
    database = _database(uri)
    return nullcontext() if database is None else FileLock(f"{database}.lock", LOCK_SECONDS)


def _is_foreign(record: logging.LogRecord) -> bool:
    """urllib3 warns of each retry: silence it for our requests, and for nobody else's."""
    return record.threadName != THREAD


class Session:
    """An open run in the store, new or taken up again from its state file.

    Attributes:
        run_id: MLflow's id of the run.

    Raises:
        Exception: whatever MLflow, SQLAlchemy or requests raise; every method may.
    """

    def __init__(self, spec: RunSpec) -> None:
        from mlflow.tracking import MlflowClient

        self._spec = spec
        with _lock(spec.uri):
            self._client = MlflowClient(spec.uri)
            self._experiment_id = self._find_experiment()
        tags = _commit_tags(spec.root) | spec.tags
        run = self._previous_run()
        if run is None:
            run = self._client.create_run(self._experiment_id, run_name=spec.name)
            self._remember(run.info.run_id)
            self._last_step: dict[str, int] = {}
        else:
            self._client.update_run(run.info.run_id, status="RUNNING")
            # The store is the truth: a state file is always behind when the process is killed.
            self._last_step = {
                key: max(m.step for m in self._client.get_metric_history(run.info.run_id, key))
                for key in run.data.metrics
            }
        self.run_id: str = run.info.run_id
        self._resumed_after = dict(self._last_step)
        self._finals = dict(run.data.metrics)
        self._send_params(run.data.params, tags)

    def send(self, calls: Sequence[tuple]) -> list[str]:
        """Send calls of `tracking.Run`, metrics and tags bundled; returns what is missing now."""
        from mlflow.entities import Metric

        metrics, tags, problems = [], {}, []
        for kind, *values in calls:
            if kind == "metrics":
                metrics += [Metric(*point) for point in self._points(*values)]
            elif kind == "tag":
                tags[clean_key(values[0])] = values[1]
        for chunk in _chunks(metrics, METRICS_PER_REQUEST):
            self._client.log_batch(self.run_id, metrics=chunk)
        self._send_pairs(tags=tags)
        for kind, *values in calls:
            if kind == "artifact" and not values[0].is_file():
                problems.append(f"artifact {values[0]} was removed before it was sent: not kept")
            elif kind == "artifact":
                self._client.log_artifact(self.run_id, str(values[0]), values[1])
            elif kind == "end":
                self._client.set_terminated(self.run_id, status=values[0])
        return problems

    def _points(
        self, values: Mapping[str, float], step: int | None, timestamp: int
    ) -> Iterator[tuple[str, float, int, int]]:
        """(key, value, milliseconds, step) of what an earlier life of this run has not logged."""
        for name, value in values.items():
            key = clean_key(name)
            if step is None:
                if self._finals.get(key) == value:
                    continue
                # On the curve's last step, if there is a curve: MLflow's "latest" goes by step.
                at = self._last_step.get(key, 0)
            elif step <= self._resumed_after.get(key, -1):
                continue
            else:
                at = step
            self._last_step[key] = max(at, self._last_step.get(key, 0))
            yield key, value, timestamp, at

    def _find_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        name = self._spec.experiment
        if found := self._client.get_experiment_by_name(name):
            return found.experiment_id
        # A server knows its own place for artifacts. A database knows none, and would take cwd.
        remote = self._spec.uri.startswith(("http://", "https://", "databricks"))
        folder = self._spec.root / "mlartifacts" / quote(name, safe=" ")
        try:
            return self._client.create_experiment(name, artifact_location=None if remote else folder.as_uri())
        except MlflowException:  # another process was quicker
            if found := self._client.get_experiment_by_name(name):
                return found.experiment_id
            raise

    def _previous_run(self) -> Any:
        from mlflow.exceptions import MlflowException

        if self._spec.state is None or not self._spec.state.is_file():
            return None
        try:
            state = json.loads(self._spec.state.read_text(encoding="utf-8"))
            run_id, uri = state["run_id"], state["uri"]
        except (ValueError, KeyError, TypeError):  # not ours, or cut off: a new run loses nothing
            return None
        if uri != redact(self._spec.uri):
            return None
        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # the database was deleted since
                return None
            raise
        same = run.info.experiment_id == self._experiment_id
        return run if same and run.info.lifecycle_stage == "active" else None

    def _remember(self, run_id: str) -> None:
        path = self._spec.state
        if path is None or not path.parent.is_dir():
            return  # its folder is gone: the stage is over and must not find it made anew
        uri = redact(self._spec.uri)
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps({"run_id": run_id, "uri": uri}) + "\n", encoding="utf-8")
        partial.replace(path)

    def _send_params(self, known: Mapping[str, str], tags: dict[str, str]) -> None:
        params = self._spec.params
        changed = {k: v for k, v in params.items() if known.get(k, v) != v}
        if changed:  # MLflow refuses to change a param
            tags["params.changed"] = json.dumps(changed, ensure_ascii=False)
        self._send_pairs({k: v for k, v in params.items() if k not in known}, tags)

    def _send_pairs(self, params: Mapping[str, str] | None = None, tags: Mapping[str, str] | None = None) -> None:
        from mlflow.entities import Param, RunTag

        for chunk in _chunks([Param(k, v) for k, v in (params or {}).items()], PAIRS_PER_REQUEST):
            self._client.log_batch(self.run_id, params=chunk)
        short = [RunTag(k, shorten(v, TAG_LENGTH)) for k, v in (tags or {}).items()]
        for chunk in _chunks(short, PAIRS_PER_REQUEST):
            self._client.log_batch(self.run_id, tags=chunk)


def _chunks(items: list, size: int) -> Iterator[list]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _commit_tags(root: Path) -> dict[str, str]:
    """The commit that runs. A queued experiment starts from a baseline that HEAD may have left."""
    commit = os.environ.get("DVC_EXP_BASELINE_REV")
    if not commit:
        try:
            command = ["git", "-C", str(root), "rev-parse", "--verify", "HEAD"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):  # no git, no repository, no commit yet
            return {}
        commit = done.stdout.strip()
    return {"git.commit": commit, "mlflow.source.git.commit": commit}
