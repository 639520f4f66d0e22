"""Runs in MLflow that can neither fail nor slow down the training they describe.

Every call puts a small tuple into a bounded queue and returns; a daemon thread imports MLflow, opens the store and
sends (`distill.tracking.session`). The first failure (server away, answer too late, database broken) prints one line on
stderr and ends tracking for this run: a circuit breaker, because a client that retries holds a stage up for minutes.

MLflow's asynchronous logging is no substitute: it needs the import and an open run first, retries every batch on a
server that fails, and joins its threads at exit without a limit. With a server that never answers, the process ends
minutes later, and the more points wait, the later.
"""

import concurrent.futures.thread  # noqa: F401 - its fork hooks must be registered before ours
import contextlib
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from distill.tracking import store
from distill.tracking.names import flatten
from distill.tracking.records import Champion, Details
from distill.tracking.session import RunSpec, Session, default_tags

QUEUE_CALLS = 20_000  # far above what a healthy store ever leaves waiting
FLUSH_SECONDS = 1.0  # calls that arrive within it share a request
READY_SECONDS = 120  # far above what importing MLflow and a new database take, on a busy machine too

# A process forked while another thread imports would wait for ever on the same module. The data loader forks just when
# MLflow is being imported: hold the fork back until that is over (1-2 s).
_importing = threading.RLock()
os.register_at_fork(before=_importing.acquire, after_in_parent=_importing.release, after_in_child=_importing.release)


def start_run(
    *,
    root: Path,
    experiment: str,
    name: str,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    state: Path | None = None,
    details: Callable[[], Details] = Details,
    curve_name: Callable[[str], str] = str,
    shared: bool = False,
    close_timeout: float = 10.0,
) -> "Run":
    """Open a run and return at once (milliseconds); use it in a `with` statement.

    The store is `MLFLOW_TRACKING_URI` if set (a relative `sqlite:///` path counts from `root`),
    else `sqlite:///<root>/mlflow.db` with its artifacts below `<root>/mlartifacts`. Nothing is
    tracked, and no file made, with `DISTILL_TRACKING=off` or in a distributed process other than
    rank 0.

    Args:
        root: repository that keeps the database, also when cwd is a throw-away copy of it.
        experiment: MLflow experiment, created if it is missing.
        name: name of the run: the stage's.
        params: any nesting of mappings and pydantic models, flattened to `a.b.c`; lists become
            JSON, all else `str`; values are cut at 500 characters.
        tags: added to `git.commit`, `mlflow.source.git.commit`, `dvc.stage` and `dvc.exp_name`.
        state: file that remembers the run's id, so that a killed and restarted stage goes on in the
            same run. Its folder must outlive the `with` block.
        details: function that reads the slow part (the parent run, datasets); called in the background. It should
            import nothing: a process forked meanwhile could wait for ever on the same module.
        curve_name: name of a value given to `log` → its name in MLflow.
        shared: whether the parent run gets what `log_final`, `tag` and `artifact` log, too.
        close_timeout: seconds that leaving the `with` block may wait for the store (a stage that is
            over before MLflow is imported, and the project's database made, waits for that first).

    Raises:
        Nothing.
    """
    run = Run(name, close_timeout)
    off = os.environ.get("DISTILL_TRACKING", "").strip().lower() in ("off", "0", "false", "no")
    if off or os.environ.get("RANK", "0") != "0":
        return run
    try:
        root = Path(root).resolve()
        run._uri = store.store_uri(root)
        if state is not None:
            Path(state).parent.mkdir(parents=True, exist_ok=True)
        spec = RunSpec(
            uri=run._uri,
            root=root,
            experiment=experiment,
            name=name,
            params=flatten(params or {}),
            tags=default_tags(name) | {key: str(tags[key]) for key in tags or {}},
            state=None if state is None else Path(state).resolve(),
            shared=shared,
        )
        run._curve_name = curve_name
        run._start(spec, details)
    except Exception as error:  # no error of tracking may end the training
        run._fail(error)
    return run


class Run:
    """A tracked run, or a shell that ignores every call.

    Also where the store fails, no method raises, and only `close` waits.

    Attributes:
        run_id: MLflow's id; None until the background thread knows it, and for good if nothing is tracked. Read it
            after the `with` block, which waits for it.
    """

    def __init__(self, name: str, close_timeout: float) -> None:
        self.run_id: str | None = None
        self._name = name
        self._close_timeout = close_timeout
        self._uri = ""
        self._curve_name: Callable[[str], str] = str
        self._queue: queue.Queue[tuple] = queue.Queue(QUEUE_CALLS)
        self._thread: threading.Thread | None = None
        self._open = False
        self._ready = threading.Event()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._failed = False
        self._warnings: set[str] = set()

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Log one point of each curve; tensors and numpy scalars are read before it returns."""
        if self._open and (values := self._floats(metrics)):
            named = {self._curve_name(name): value for name, value in values.items()}
            self._put("metrics", named, int(step), time.time_ns() // 1_000_000)

    def log_final(self, metrics: Mapping[str, Any]) -> None:
        """Log results that have no step; a resumed run takes over only what has changed."""
        if self._open and (values := self._floats(metrics)):
            self._put("metrics", values, None, time.time_ns() // 1_000_000)

    def tag(self, key: str, value: Any) -> None:
        """Set a tag (cut at 5000 characters)."""
        self._put("tag", key, str(value))

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a copy of a small file; it must stay in place until the `with` block ends."""
        if not self._open:
            return
        if Path(path).is_file():
            self._put("artifact", Path(path).resolve(), folder)
        else:
            self._warn(f"artifact {path} is not a file: not kept")

    def register(self, champion: Champion) -> None:
        """Register a model, whose files stay where they are; see `distill.tracking.registry.register`."""
        self._put("champion", champion)

    def close(self, status: str = "FINISHED") -> None:
        """End the run (FINISHED, FAILED, KILLED), waiting `close_timeout` seconds at most."""
        self._put("end", status)
        self._closing.set()
        if self._open and self._thread is not None:
            self._ready.wait(READY_SECONDS)
            self._thread.join(self._close_timeout)
            if self._thread.is_alive():
                self._stop(f"not done {self._close_timeout:g} s after the end of the run")
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            self.close("FINISHED")
        elif issubclass(kind, (KeyboardInterrupt, SystemExit)):
            self.close("KILLED")
        else:
            self.close("FAILED")

    def _start(self, spec: RunSpec, details: Callable[[], Details]) -> None:
        self._open = True
        self._thread = threading.Thread(target=self._work, args=(spec, details), name=store.THREAD, daemon=True)
        self._thread.start()

    def _work(self, spec: RunSpec, details: Callable[[], Details]) -> None:
        try:
            try:
                with _importing:
                    store.import_mlflow()
                known = self._read(details)
                store.create_database(spec.uri)
            finally:
                self._ready.set()
            session = Session(spec, known)
            self.run_id = session.run_id
            calls: list[tuple] = []
            while self._open and not (calls and calls[-1][0] == "end"):
                calls = [self._queue.get()]
                self._closing.wait(FLUSH_SECONDS)
                calls += [self._queue.get() for _ in range(self._queue.qsize())]
                for problem in session.send(calls):
                    self._warn(problem)
        except Exception as error:
            self._fail(error)

    def _read(self, details: Callable[[], Details]) -> Details:
        try:
            return details()
        except Exception as error:  # the run is worth having without them
            self._warn(f"without parent run and datasets ({store.reason(error)})")
            return Details()

    def _put(self, *call: Any) -> None:
        if not self._open:
            return
        try:
            self._queue.put_nowait(call)
        except queue.Full:
            self._stop(f"{QUEUE_CALLS} calls are waiting")

    def _floats(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        values = {}
        for key, value in metrics.items():
            try:
                values[str(key)] = float(value)
            except (TypeError, ValueError, RuntimeError):  # RuntimeError: a tensor of many elements
                self._warn(f"metric {key!r} is a {type(value).__name__}, no number: not logged")
        return values

    def _fail(self, error: Exception) -> None:
        self._stop(store.reason(error), store.remedy(self._uri, error))

    def _stop(self, why: str, remedy: str | None = None) -> None:
        """Break the circuit: print why the first time, and ignore every later call."""
        with self._lock:
            if self._failed:
                return
            self._failed = True
            shown = store.redact(self._uri)
            self._print(
                f"in {shown} failed ({why}): the stage goes on without it. "
                f"{remedy or store.remedy(self._uri)}, or set DISTILL_TRACKING=off"
            )
            self._open = False  # last: the process may end as soon as close() sees it

    def _warn(self, problem: str) -> None:
        with self._lock:
            if problem in self._warnings:
                return
            self._warnings.add(problem)
            self._print(f"in MLflow: {problem}")

    def _print(self, text: str) -> None:
        from tqdm import tqdm  # its `write` leaves a progress bar whole

        with contextlib.suppress(OSError, ValueError):  # stderr is closed: nobody reads it
            tqdm.write(f"tracking of {self._name} {text}", file=sys.stderr)
