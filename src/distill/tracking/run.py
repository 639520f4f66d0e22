"""Runs in MLflow that can neither fail nor slow down the training they describe.

Every call is written down on disk (`distill.tracking.spool`), put into a bounded queue, and returns; a daemon thread
imports MLflow, opens the store and sends (`distill.tracking.session`). The first failure (server away, answer too late,
database broken) prints one line on stderr and ends sending for this run: a circuit breaker, because a client that
retries holds a stage up for minutes. What was not sent stays on disk, and the thread of a later run sends it.

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
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from distill.tracking import late, spool, store
from distill.tracking.names import flatten
from distill.tracking.records import Champion, Details, RunSpec
from distill.tracking.redaction import shown
from distill.tracking.session import Session, commit_tags, default_tags

QUEUE_CALLS = 20_000  # far above what a healthy store ever leaves waiting
FLUSH_SECONDS = 1.0  # calls that arrive within it share a request
READY_SECONDS = 120  # far above what importing MLflow and a new database take, on a busy machine too
LATE_SECONDS = 5.0  # at the end of a run, for those that wait

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
    else `sqlite:///<root>/mlflow.db` with its artifacts below `<root>/mlartifacts`. What it does not
    get waits in `<root>/.scratch/tracking`, and a later run of the same root sends it. Nothing is
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
            key=uuid.uuid4().hex,
            started=_now(),
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
        self._closed = False
        self._entry: spool.Entry | None = None
        self._order = threading.Lock()  # disk and queue have the calls in the same order
        self._behind = False  # whether the disk has calls that the queue has not
        self._ready = threading.Event()
        self._closing = threading.Event()
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._failed = False
        self._warnings: set[str] = set()

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Log one point of each curve; tensors and numpy scalars are read before it returns."""
        if self._listens and (values := self._floats(metrics)):
            named = {self._curve_name(name): value for name, value in values.items()}
            self._put("metrics", named, int(step), _now())

    def log_final(self, metrics: Mapping[str, Any]) -> None:
        """Log results that have no step, with six digits, which MLflow's tables can show; metrics/ has them all.

        A resumed run takes over only what has changed.
        """
        if self._listens and (values := self._floats(metrics)):
            self._put("metrics", {name: float(f"{value:.6g}") for name, value in values.items()}, None, _now())

    def tag(self, key: str, value: Any) -> None:
        """Set a tag (cut at 5000 characters)."""
        self._put("tag", key, str(value))

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a copy of a small file; it must stay in place until the `with` block ends."""
        if not self._listens:
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
        self._put("end", status, _now())
        self._closing.set()
        if self._open and self._thread is not None:
            self._ready.wait(READY_SECONDS)
            if not self._done.wait(self._close_timeout):
                self._stop(f"not done {self._close_timeout:g} s after the end of the run")
            elif not self._failed:
                self._thread.join(min(LATE_SECONDS, self._close_timeout))
        self._open, self._closed = False, True
        if self._entry is not None and (self._failed or self._behind):
            self._keep(self._entry)

    def _keep(self, entry: spool.Entry) -> None:
        """Leave the run to a later one."""
        try:
            for kind, *values in entry.calls():
                if kind == "artifact":
                    entry.keep(values[0])
        except OSError as error:  # a full disk; or the thread has sent everything at last, and removed the folder
            if entry.folder.is_dir():
                self._warn(f"artifacts are not kept ({store.reason(error)})")
        if self._thread is None or not self._thread.is_alive():
            entry.release()  # else with the process: the thread may still be sending

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            self.close("FINISHED")
        elif issubclass(kind, (KeyboardInterrupt, SystemExit)):
            self.close("KILLED")
        else:
            self.close("FAILED")

    @property
    def _listens(self) -> bool:
        return (self._open or self._entry is not None) and not self._closed

    def _start(self, spec: RunSpec, details: Callable[[], Details]) -> None:
        earlier: list[tuple] = []
        try:
            self._entry, earlier = spool.start(spec)
            spec = self._entry.description.spec
        except OSError as error:
            self._lose(error)
        self._open = True
        self._thread = threading.Thread(
            target=self._work, args=(spec, details, earlier), name=store.THREAD, daemon=True
        )
        self._thread.start()

    def _work(self, spec: RunSpec, details: Callable[[], Details], earlier: list[tuple]) -> None:
        try:
            try:
                known = self._read(spec, details)
                with _importing:
                    store.import_mlflow()
                store.create_database(spec.uri)
            finally:
                self._ready.set()
            session = self._opened(spec, known)
            self.run_id = session.run_id
            self._describe(run_id=session.run_id)
            if earlier:
                self._send(session, spec, earlier)
            waiting = late.Sender(spec.root, spec.uri, self._warn)
            ended = False
            while self._open and not ended:
                while self._queue.empty() and not self._closing.is_set() and waiting.send_next():
                    pass
                calls = [self._queue.get()]
                self._closing.wait(FLUSH_SECONDS)
                calls += [self._queue.get() for _ in range(self._queue.qsize())]
                self._send(session, spec, calls)
                ended = calls[-1][0] == "end"
            if ended:
                self._done.set()
                while waiting.send_next():
                    pass
            if waiting.sent:
                runs = "an earlier run" if waiting.sent == 1 else f"{waiting.sent} earlier runs"
                self._print(f"in MLflow: sent {runs}, kept in {spool.FOLDER} until now")
        except Exception as error:
            self._fail(error)
        finally:
            if self._closed and self._entry is not None:
                self._entry.release()

    def _opened(self, spec: RunSpec, details: Details) -> Session:
        run_id = None if self._entry is None else self._entry.description.run_id
        resumed = self._entry is not None and spec.key not in self._entry.folder.name
        return _twice(spec, lambda again: Session(spec, details, run_id, again=again or resumed))

    def _send(self, session: Session, spec: RunSpec, calls: list[tuple]) -> None:
        """Send the calls, and forget on disk what the store has."""
        for problem in _twice(spec, lambda again: session.send(calls)):
            self._warn(problem)
        with self._order:
            if self._entry is None or self._behind or not self._queue.empty():
                return
            if calls[-1][0] == "end":
                self._entry.remove()
            else:
                self._entry.clear()

    def _read(self, spec: RunSpec, details: Callable[[], Details]) -> Details:
        try:
            known = details()
        except Exception as error:  # the run is worth having without them
            self._warn(f"without parent run and datasets ({store.reason(error)})")
            known = Details()
        known = replace(known, tags={**commit_tags(spec.root), **known.tags}, params=flatten(known.params))
        self._describe(details=known)
        return known

    def _describe(self, **changes: Any) -> None:
        with self._order:
            if self._entry is not None:
                try:
                    self._entry.describe(**changes)
                except OSError as error:
                    self._lose(error)

    def _put(self, *call: Any) -> None:
        if not self._listens:
            return
        with self._order:
            if self._entry is not None:
                try:
                    self._entry.append(call)
                except (OSError, ValueError) as error:  # a full disk; a text that no file holds
                    self._lose(error)
            try:
                if self._open:
                    self._queue.put_nowait(call)
                    return
            except queue.Full:
                pass
            self._behind = True
        if self._open:
            self._stop(f"{QUEUE_CALLS} calls are waiting")

    def _lose(self, error: Exception) -> None:
        """Go on without the copy on disk, where the store gets everything until now."""
        if self._open and self._entry is not None:
            self._entry.remove()
            self._entry = None
        self._warn(f"nothing is kept in {spool.FOLDER}, for a store that fails ({store.reason(error)})")

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
            kept = f", and a later one sends what is kept in {spool.FOLDER}" if self._entry is not None else ""
            self._print(
                f"in {shown(self._uri)} failed ({why}): the stage goes on without it{kept}. "
                f"{remedy or store.remedy(self._uri)}, or set DISTILL_TRACKING=off"
            )
            self._open = False  # last: the process may end as soon as close() sees it
            self._done.set()

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


def _twice(spec: RunSpec, action: Callable[[bool], Any]) -> Any:
    """Do what may be repeated, a second time where a server's request failed; `action` is told whether it is one."""
    try:
        return action(False)
    except Exception:
        if not store.is_remote(spec.uri):
            raise
    return action(True)


def _now() -> int:
    return time.time_ns() // 1_000_000
