"""Tracking against real stores: SQLite files, servers that are away or never answer."""

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from distill.tracking import names, store
from distill.tracking import run as tracking
from distill.tracking.run import start_run

SRC = str(Path(tracking.__file__).resolve().parents[2])
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # SQLAlchemy of MLflow
CHOSEN_BY_ENVIRONMENT = ("DISTILL_TRACKING", "MLFLOW_TRACKING_URI", "RANK", "DVC_STAGE")


@pytest.fixture
def fresh(tmp_path) -> Path:
    """A root without a database."""
    folder = tmp_path / "a root"  # with a space, as users have it
    folder.mkdir()
    return folder


@pytest.fixture
def root(fresh, database) -> Path:
    """A root with an empty database."""
    shutil.copy(database, fresh)
    return fresh


def client(root: Path):
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{root}/mlflow.db")


def runs(root: Path) -> list:
    at = client(root)
    return at.search_runs([e.experiment_id for e in at.search_experiments()])


def curve(root: Path, run_id: str, key: str) -> list[tuple[int, float]]:
    return sorted((m.step, m.value) for m in client(root).get_metric_history(run_id, key))


def cold(code: str, *, root: Path, interpreter: str = sys.executable, **env: str) -> subprocess.Popen:
    """A new interpreter in which `start()` opens a run under `root`; `env` comes on top of ours."""
    head = f"""
        import sys, time
        from pathlib import Path
        from distill.tracking import run as tracking
        root = Path({str(root)!r})
        def start(**more):
            more = {{"root": root, "experiment": "distill", "name": "stage"}} | more
            return tracking.start_run(**more)
    """
    return subprocess.Popen(
        [interpreter, "-c", textwrap.dedent(head) + textwrap.dedent(code)],
        env=os.environ | {"PYTHONPATH": SRC, "OMP_NUM_THREADS": "1"} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def process(python) -> Callable[..., subprocess.Popen]:
    """As `cold`, with MLflow imported already; not for tests of the interpreter's exit, which this one leaves out."""
    return functools.partial(cold, interpreter=str(python / "python"))


def finish(process: subprocess.Popen, seconds: float = 200) -> tuple[str, list[str]]:
    """Its output and the lines of its stderr, after it ended well."""
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, err
    return out, err.splitlines()


def test_a_run_has_params_curves_tags_artifacts_and_ends_finished(fresh, tmp_path, capfd):
    table = tmp_path / "curve.csv"
    table.write_text("step,loss\n1,2\n")

    class Section(BaseModel):
        rate: float
        layers: list[int]

    with start_run(
        root=fresh,
        experiment="distill",
        name="distill_filtered@ted-1",
        params={"ted": {"mse_alpha": 100}, "student": Section(rate=1e-5, layers=[1, 2]), "x": None},
        tags={"method": "ted", "seed": 1},
    ) as run:
        for step in range(0, 30, 10):
            run.log({"loss/task": 1 / (step + 1), "loss/kl": step}, step=step)
        run.log({"eval/f1": 50.0}, step=20)
        run.log_final({"em": 80.1, "f1": 83.0})
        run.tag("artifact.md5", "d41d8")
        run.artifact(table)

    at = client(fresh)
    kept = at.get_run(run.run_id)
    assert kept.info.status == "FINISHED"
    assert kept.info.run_name == "distill_filtered@ted-1"
    assert kept.data.params == {
        "ted.mse_alpha": "100",
        "student.rate": "1e-05",
        "student.layers": "[1, 2]",
        "x": "None",
    }
    assert curve(fresh, run.run_id, "loss/task") == [(0, 1.0), (10, 1 / 11), (20, 1 / 21)]
    assert curve(fresh, run.run_id, "loss/kl") == [(0, 0.0), (10, 10.0), (20, 20.0)]
    assert curve(fresh, run.run_id, "eval/f1") == [(20, 50.0)]
    assert (kept.data.metrics["em"], kept.data.metrics["f1"]) == (80.1, 83.0)
    expected = {"method": "ted", "seed": "1", "artifact.md5": "d41d8"}
    assert expected.items() <= kept.data.tags.items()
    assert kept.data.tags["dvc.stage"] == "distill_filtered@ted-1"
    experiment = at.get_experiment_by_name("distill")
    assert experiment.artifact_location == (fresh / "mlartifacts" / "distill").as_uri()
    copy = fresh / "mlartifacts" / "distill" / run.run_id / "artifacts" / "curve.csv"
    assert copy.read_text() == table.read_text()
    assert capfd.readouterr() == ("", "")


def test_source_tags_come_from_git_and_dvc(root, monkeypatch):
    def git(*words: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", "-C", str(root), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    monkeypatch.setenv("DVC_STAGE", "finetune_teacher")
    monkeypatch.setenv("DVC_EXP_NAME", "hilly-newt")
    with start_run(root=root, experiment="distill", name="stage") as run:
        pass
    tags = client(root).get_run(run.run_id).data.tags
    assert tags["git.commit"] == tags["mlflow.source.git.commit"] == git("rev-parse", "HEAD")
    assert (tags["dvc.stage"], tags["dvc.exp_name"]) == ("finetune_teacher", "hilly-newt")

    # A queued experiment runs the baseline it was queued on, wherever HEAD has gone since.
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "0" * 40)
    with start_run(root=root, experiment="distill", name="stage") as run:
        pass
    assert client(root).get_run(run.run_id).data.tags["git.commit"] == "0" * 40


def test_a_killed_run_is_taken_up_again_without_double_steps_or_param_errors(root, tmp_path, process):
    state = tmp_path / "scratch" / "tracking.json"
    killed = process(
        f"""
        import os, signal
        run = start(params={{"alpha": 1}}, state=Path({str(state)!r}), tags={{"seed": 1}})
        for step in range(50):
            run.log({{"loss": step}}, step=step)
        run.log_final({{"em": 1.0, "f1": 2.0}})
        while run.run_id is None:
            time.sleep(.05)
        from mlflow.tracking import MlflowClient
        client = MlflowClient(f"sqlite:///{{root}}/mlflow.db")
        while not client.get_metric_history(run.run_id, "f1"):
            time.sleep(.05)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        root=root,
    )
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    (left,) = runs(root)
    assert left.info.status == "RUNNING"
    assert json.loads(state.read_text())["run_id"] == left.info.run_id
    assert len(curve(root, left.info.run_id, "loss")) == 50

    # From a checkpoint at step 30. The curve `late` starts where `loss` has long been.
    with start_run(
        root=root,
        experiment="distill",
        name="stage",
        params={"alpha": 2, "beta": 3},
        state=state,
    ) as run:
        for step in range(30, 70):
            run.log({"loss": step, "late": step}, step=step)
        run.log_final({"em": 1.0, "f1": 5.0})
    (kept,) = runs(root)
    assert kept.info.run_id == run.run_id == left.info.run_id
    assert kept.info.status == "FINISHED"
    assert kept.data.params == {"alpha": "1", "beta": "3"}
    assert json.loads(kept.data.tags["params.changed"]) == {"alpha": "2"}
    assert curve(root, run.run_id, "loss") == [(s, float(s)) for s in range(70)]
    assert curve(root, run.run_id, "late") == [(s, float(s)) for s in range(30, 70)]
    assert curve(root, run.run_id, "em") == [(0, 1.0)]
    assert kept.data.metrics["f1"] == 5.0


def test_a_state_file_of_no_use_starts_a_new_run(root, tmp_path, capfd):
    state = tmp_path / "tracking.json"
    uri = store.store_uri(root.resolve())
    contents = [
        '{"run_id": "cut o',
        "[1]",
        json.dumps({"run_id": "0" * 32, "uri": "http://elsewhere"}),
        json.dumps({"run_id": "0" * 32, "uri": uri}),  # of a database that was deleted since
    ]
    for number, content in enumerate(contents, 1):
        state.write_text(content)
        with start_run(root=root, experiment="distill", name="stage", state=state) as run:
            run.log({"loss": 1}, step=0)
        assert json.loads(state.read_text()) == {"run_id": run.run_id, "uri": uri}
        assert len(runs(root)) == number
    deleted = run.run_id
    client(root).delete_run(deleted)  # by the user, in the UI
    with start_run(root=root, experiment="distill", name="stage", state=state) as run:
        pass
    assert run.run_id not in (None, deleted)
    assert capfd.readouterr().err == ""


def test_the_way_a_run_ends_is_its_status(root):
    ends = [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")]
    for error, status in ends:
        with (
            pytest.raises(error),
            start_run(root=root, experiment="distill", name="stage") as run,
        ):
            run.log({"loss": 1}, step=0)
            raise error
        assert client(root).get_run(run.run_id).info.status == status
        assert curve(root, run.run_id, "loss") == [(0, 1.0)]


def test_processes_that_start_together_share_one_fresh_database(fresh, process):
    code = """
        with start(close_timeout=50) as run:
            run.log({"loss": 1}, step=0)
        print(run.run_id)
    """
    together = [process(code, root=fresh) for _ in range(2)]
    ends = [finish(each) for each in together]
    assert [err for _, err in ends] == [[], []]
    assert {out.strip() for out, _ in ends} == {r.info.run_id for r in runs(fresh)}
    assert [r.info.status for r in runs(fresh)] == ["FINISHED"] * 2
    assert [e.name for e in client(fresh).search_experiments()].count("distill") == 1


def test_a_process_killed_while_it_makes_the_database_breaks_nothing(fresh, capfd, process):
    killed = process(
        """
        import os, signal
        draft = root / "mlflow.db.new"
        run = start()
        while not (draft.exists() and draft.stat().st_size):
            time.sleep(.001)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        root=fresh,
    )
    killed.communicate(timeout=100)
    assert killed.returncode == -signal.SIGKILL
    assert (fresh / "mlflow.db.new").exists() and not (fresh / "mlflow.db").exists()
    with start_run(root=fresh, experiment="distill", name="stage", close_timeout=60) as run:
        run.log({"loss": 1}, step=0)
    # The killed run, which nobody goes on with, is sent by the next.
    assert sorted(r.info.status for r in runs(fresh)) == ["FINISHED", "KILLED"]
    assert client(fresh).get_run(run.run_id).info.status == "FINISHED"
    assert not list(fresh.glob("mlflow.db.new*"))
    (line,) = capfd.readouterr().err.splitlines()
    assert "sent an earlier run" in line


def test_a_run_waits_for_a_new_database_however_short_its_time(fresh, process):
    code = """
        from distill.tracking import store
        make = store.create_database
        def slow(uri):
            time.sleep(9)
            make(uri)
        store.create_database = slow
        with start(close_timeout=8) as run:
            run.log({"loss": 1}, step=0)
    """
    assert finish(process(code, root=fresh)) == ("", [])
    assert len(runs(fresh)) == 1


LOOP = """
    import mlflow.tracking  # what it takes is not what is measured
    begin = time.perf_counter()
    with start(close_timeout=2) as run:
        started = time.perf_counter() - begin
        for step in range(200):
            run.log({"loss/task": 1.0, "loss/kl": 2.0}, step=step)
            time.sleep(.002)
        looped = time.perf_counter() - begin
    print(started, looped, time.perf_counter() - begin, run.run_id)
"""


def test_a_dead_server_costs_one_line(fresh, process):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://me:secret@127.0.0.1:{port}"
    out, err = finish(process(LOOP, root=fresh, MLFLOW_TRACKING_URI=uri))
    started, looped, closed, run_id = out.split()
    assert float(started) < 0.2 and float(looped) < 2 and float(closed) < 5
    assert run_id == "None"
    assert len(err) == 1
    assert f"http://***@127.0.0.1:{port}" in err[0] and "secret" not in err[0]
    assert "unset MLFLOW_TRACKING_URI" in err[0] and "DISTILL_TRACKING=off" in err[0]
    assert "a later one sends what is kept in .scratch/tracking" in err[0]
    assert [path.name for path in fresh.iterdir()] == [".scratch"]
    (kept,) = (fresh / ".scratch" / "tracking").iterdir()
    assert len((kept / "calls.jsonl").read_text().splitlines()) == 201  # the points, and the end
    assert not [file for file in kept.rglob("*") if b"secret" in file.read_bytes()]


def test_a_server_that_never_answers_costs_one_line_and_a_bounded_close(fresh):
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:  # the kernel accepts
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        begin = time.perf_counter()
        out, err = finish(cold(LOOP, root=fresh, MLFLOW_TRACKING_URI=uri))
        whole = time.perf_counter() - begin
    started, looped, closed, _ = out.split()
    assert float(started) < 0.2 and float(looped) < 2
    assert float(closed) - float(looped) < 3
    assert whole < 30  # nothing holds the interpreter's exit up either
    assert len(err) == 1 and uri in err[0] and "not done 2 s after the end" in err[0]


class Server(ThreadingHTTPServer):
    """Just enough of MLflow's REST interface to open a run, and then a way to treat the curves.

    Attributes:
        curves: number of requests with points that have come in.
    """

    daemon_threads = True

    def __init__(self, answer: Callable[[], int]):
        self.answer, self.curves = answer, 0
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextlib.contextmanager
def closing(server: Server) -> Iterator[Server]:
    yield server
    server.shutdown()
    server.server_close()


class Handler(BaseHTTPRequestHandler):
    """What `Server` says: to points, whatever its `answer` returns."""

    def do_GET(self) -> None:
        self.reply(200, {"experiment": {"experiment_id": "1", "name": "distill", "lifecycle_stage": "active"}})

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = 200
        if content.get("metrics"):
            self.server.curves += 1
            status = self.server.answer()
        info = {"run_id": "1" * 32, "run_uuid": "1" * 32, "experiment_id": "1", "status": "RUNNING"}
        self.reply(status, {"run": {"info": info, "data": {}}, "run_info": info})

    def reply(self, status: int, content: dict) -> None:
        with contextlib.suppress(OSError):  # the client is gone: it does not wait for ever
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

    def log_message(self, *words: object) -> None:
        pass


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda: time.sleep(60) or 200, "not done 2 s after the end|timed out"),
        (lambda: 500, "500"),
    ],
    ids=["never", "error"],
)
def test_a_server_that_fails_in_the_middle_costs_one_line_and_a_bounded_end(fresh, answer, reason):
    with closing(Server(answer)) as server:
        code = LOOP.replace("range(200)", "range(3000)") + "    print(time.time())"
        out, err = finish(cold(code, root=fresh, MLFLOW_TRACKING_URI=server.uri))
        exited = time.time()
    started, looped, closed, run_id, done = out.split()
    assert float(started) < 0.2 and float(looped) < 12 and run_id == "1" * 32
    assert float(closed) - float(looped) < 3 and exited - float(done) < 3
    assert len(err) == 1 and re.search(reason, err[0])
    assert server.curves <= 2  # a batch and MLflow's single retry, then no more


def test_asynchronous_logging_in_the_environment_changes_nothing(fresh):
    """MLflow would join its threads at exit, however long the server takes."""
    with closing(Server(lambda: time.sleep(60) or 200)) as server:
        env = {"MLFLOW_TRACKING_URI": server.uri, "MLFLOW_ENABLE_ASYNC_LOGGING": "true"}
        code = LOOP.replace("range(200)", "range(1000)") + "    print(time.time())"
        out, err = finish(cold(code, root=fresh, **env))
        exited = time.time()
    assert exited - float(out.split()[-1]) < 3 and len(err) == 1


def test_what_a_request_cannot_hold_is_split(root):
    params = {f"key{number}": number for number in range(250)}
    with start_run(root=root, experiment="distill", name="stage", params=params) as run:
        for step in range(2500):
            run.log({"loss": step}, step=step)
    assert len(curve(root, run.run_id, "loss")) == 2500
    assert len(client(root).get_run(run.run_id).data.params) == 250


def test_a_request_that_times_out_breaks_the_circuit_once(root, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with start_run(root=root, experiment="distill", name="stage") as run:
            run._thread.join(20)
            assert not run._thread.is_alive()
            for step in range(tracking.QUEUE_CALLS + 10):
                run.log({"loss": 1}, step=step)
            assert run._queue.qsize() == 0
            begin = time.perf_counter()
        assert time.perf_counter() - begin < 0.5
    err = capfd.readouterr().err.splitlines()
    assert len(err) == 1 and "timed out" in err[0]


def test_a_store_that_falls_behind_is_left(root, monkeypatch, capfd):
    monkeypatch.setattr(tracking, "QUEUE_CALLS", 5)
    begin = time.perf_counter()
    with start_run(root=root, experiment="distill", name="stage") as run:
        for step in range(10_000):
            run.log({"loss": 1}, step=step)
    assert time.perf_counter() - begin < 1
    run._thread.join(20)
    err = capfd.readouterr().err.splitlines()
    assert len(err) == 1 and "5 calls are waiting" in err[0]


def test_a_broken_database_costs_one_line(fresh, capfd):
    (fresh / "mlflow.db").write_text("this is no database, but longer than a header of SQLite" * 20)
    with start_run(root=fresh, experiment="distill", name="stage", close_timeout=3) as run:
        run.log({"loss": 1}, step=0)
    if run._thread.is_alive():  # MLflow tries a database ten times; do not print into other tests
        run._thread.join(150)
    err = capfd.readouterr().err.splitlines()
    assert len(err) == 1 and str(fresh / "mlflow.db") in err[0]


def test_odd_values_are_said_once_and_do_not_end_the_run(root, tmp_path, capfd):
    import torch

    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    gone = tmp_path / "gone.csv"
    gone.write_text("x")
    with start_run(root=root, experiment="distill", name="stage") as run:
        for step in range(3):
            run.log({"a": None, "b": torch.tensor(step), "c/ü?": float("nan")}, step=step)
        run.log({"d": torch.zeros(2)}, step=0)
        run.artifact(tmp_path / "never.csv")
        run.artifact(gone)
        gone.unlink()
    assert curve(root, run.run_id, "b") == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert client(root).get_run(run.run_id).info.status == "FINISHED"
    err = capfd.readouterr().err.splitlines()
    assert [line.count("not logged") for line in err[:2]] == [1, 1]
    assert [line.count("not kept") for line in err[2:]] == [1, 1]

    with start_run(root=root, experiment="distill", name="s", params={"x": Unprintable()}):
        pass
    assert "no text" in capfd.readouterr().err


def test_off_means_no_thread_no_file_and_no_import(fresh, tmp_path):
    code = f"""
        import threading
        with start(state=Path({str(tmp_path / "scratch" / "t.json")!r})) as run:
            run.log({{"loss": 1}}, step=0)
            run.log_final({{"em": 1}})
            run.tag("a", 1)
            run.artifact(Path("nothing"))
            assert threading.active_count() == 1
        assert run.run_id is None
        assert "mlflow" not in sys.modules
    """
    for switch in ({"DISTILL_TRACKING": "off"}, {"RANK": "1"}):
        assert finish(cold(code, root=fresh, **switch)) == ("", [])
    assert list(fresh.iterdir()) == [] and not (tmp_path / "scratch").exists()


def test_without_mlflow_there_is_one_line(fresh):
    code = """
        sys.modules["mlflow"] = None
        with start() as run:
            run.log({"loss": 1}, step=0)
    """
    _, err = finish(cold(code, root=fresh))
    assert len(err) == 1 and "(pip install mlflow)" in err[0]


def test_a_process_forked_during_the_import_can_import_too(root):
    code = """
        import importlib, multiprocessing
        with start(close_timeout=30) as run:
            while "mlflow" not in sys.modules:
                time.sleep(.001)
            context = multiprocessing.get_context("fork")
            worker = context.Process(target=importlib.import_module, args=("mlflow",), daemon=True)
            worker.start()
            worker.join(20)
            assert worker.exitcode == 0, worker.exitcode
    """
    assert finish(cold(code, root=root)) == ("", [])


def test_start_is_cheap_on_the_calling_thread(root):
    code = """
        params = {f"section{i}": {f"key{j}": j for j in range(20)} for i in range(10)}
        begin = time.perf_counter()
        run = start(params=params)
        cost = time.perf_counter() - begin
        assert cost < .05, cost
        run.close()
        print(run.run_id)
    """
    out, err = finish(cold(code, root=root))
    assert err == []
    assert len(client(root).get_run(out.strip()).data.params) == 200


def test_relative_sqlite_uris_count_from_root(root, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    with start_run(root=root, experiment="distill", name="stage") as run:
        pass
    assert [r.info.run_id for r in runs(root)] == [run.run_id]
    assert not (tmp_path / "mlflow.db").exists() and not (tmp_path / "mlruns").exists()


def test_flatten_writes_out_the_values_and_cuts_long_ones():
    flat = names.flatten({"a": {"b": [1, {"c": 2}], "d": {}, "e": True}, "long": "x" * 600, 3: Path("p")})
    assert flat == {
        "a.b": '[1, {"c": 2}]',
        "a.d": "{}",
        "a.e": "True",
        "long": "x" * 499 + "…",
        "3": "p",
    }


@given(st.text(max_size=300))
@example(".")
def test_every_key_becomes_one_that_mlflow_accepts(key):
    from mlflow.utils.validation import _validate_param, _validate_tag

    clean = names.clean_key(key)
    _validate_param(clean, "value")  # both raise MlflowException on a bad name
    _validate_tag(clean, "value")
