"""Late, never lost: what a store does not get waits on disk, and a later run sends it once."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from distill.tracking import late, spool, store
from distill.tracking import run as tracking
from distill.tracking.records import Champion, Dataset, Details, Parent
from distill.tracking.run import Run, start_run
from distill.tracking.session import Session

SRC = str(Path(tracking.__file__).resolve().parents[2])
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # SQLAlchemy of MLflow
DATA = Dataset("atlas/train", "0" * 32, "training", "local", {"uri": "train.json"}, {"id": "string"}, {"num_rows": 3})
DETAILS = Details({"task": "qa"}, {"stage": "distill"}, (DATA,), Parent("warm", {"seeds": [1]}, {"stage": "pipeline"}))


@pytest.fixture
def root(tmp_path, database) -> Path:
    """A root with an empty database."""
    folder = tmp_path / "root"
    folder.mkdir()
    shutil.copy(database, folder)
    return folder


def start(root: Path, name: str = "stage", **more) -> Run:
    return start_run(root=root, experiment="distill", name=name, **{"close_timeout": 60.0, **more})


def runs(client, name: str = "stage") -> list:
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return [run for run in found if run.info.run_name == name]


def curve(client, run, key: str) -> list[tuple[int, float]]:
    return sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, key))


def kept(root: Path) -> list[Path]:
    return sorted((root / spool.FOLDER).glob("*"))


@contextlib.contextmanager
def failing(monkeypatch, error: Exception, before: bool = True):
    """A store that fails at every request to a run: before it does what is asked, or after."""
    send = Session.send

    def fail(self: Session, calls: list) -> list[str]:
        if not before:
            send(self, calls)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Session, "send", fail)
        yield


def python(root: Path, code: str) -> subprocess.CompletedProcess:
    """What another process says, in which `start(…)` opens a run."""
    head = f"""
        import os, signal, time
        from pathlib import Path
        from distill.tracking import run as tracking
        from distill.tracking.records import Details, Parent
        root = Path({str(root)!r})
        def start(**more):
            return tracking.start_run(**({{"root": root, "experiment": "distill", "name": "stage"}} | more))
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(code)],
        env=os.environ | {"PYTHONPATH": SRC},
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_a_database_that_another_process_holds_gets_everything_with_the_next_run(root, client, tmp_path, capfd):
    table = tmp_path / "table.csv"
    table.write_text("a\n1\n")
    client.create_experiment("distill", artifact_location=(root / "mlartifacts").as_uri())
    holder = sqlite3.connect(root / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    done = python(
        root,
        f"""
        details = Details(parent=Parent("warm", {{"seeds": [1]}}, {{"stage": "pipeline"}}))
        with start(params={{"alpha": 1}}, tags={{"seed": 1}}, details=lambda: details, close_timeout=.5) as run:
            for step in range(30):
                run.log({{"loss": step}}, step=step)
            run.log_final({{"f1": 80.5}})
            run.artifact(Path({str(table)!r}), "data")
        """,
    )
    holder.execute("ROLLBACK")
    holder.close()
    assert done.returncode == 0 and "not done 0.5 s after the end" in done.stderr
    assert len(kept(root)) == 1 and runs(client) == []
    table.write_text("another run's")

    with start(root, "next"):
        pass
    (run,) = runs(client)
    assert run.info.status == "FINISHED" and run.data.params == {"alpha": "1"}
    assert run.data.tags["seed"] == "1" and run.data.metrics["f1"] == 80.5
    assert curve(client, run, "loss") == [(step, float(step)) for step in range(30)]
    assert run.info.end_time < runs(client, "next")[0].info.start_time
    (parent,) = runs(client, "warm")
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id and parent.info.status == "FINISHED"
    copy = Path(client.download_artifacts(run.info.run_id, "data/table.csv"))
    assert copy.read_text() == "a\n1\n"
    assert not (root / ".scratch" / "tracking").exists()
    (line,) = (line for line in capfd.readouterr().err.splitlines() if line.startswith("tracking"))
    assert line == "tracking of next in MLflow: sent an earlier run, kept in .scratch/tracking until now"


def test_all_that_a_run_says_survives_the_disk(root, client, monkeypatch, tmp_path):
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "c" * 40)
    champion = Champion("distill", "data/models/distill/ted/2", "a" * 32, 80.5, "qa", {"seed": 2}, "It is good.")
    with failing(monkeypatch, OSError("away")), start(root, params={"x": None}, details=lambda: DETAILS) as run:
        run.log({"loss": float("nan"), "ü": 1e-300}, step=3)
        run.tag("note", 'two\nlines, "quoted", ü')
        run.register(champion)
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "d" * 40)  # HEAD has moved on
    with start(root, "next"):
        pass
    (run,) = runs(client)
    assert run.data.params == {"x": "None", "task": "qa"}
    assert run.data.metrics["ü"] == 1e-300 and "loss" in run.data.metrics
    assert run.data.tags["note"] == 'two\nlines, "quoted", ü'
    assert run.data.tags["git.commit"] == "c" * 40 and run.data.tags["stage"] == "distill"
    assert [used.dataset.name for used in client.get_run(run.info.run_id).inputs.dataset_inputs] == ["atlas/train"]
    version = client.get_model_version_by_alias("distill", "champion")
    assert version.description == "It is good." and version.tags["seed"] == "2"
    assert runs(client, "warm")[0].info.status == "FINISHED"


def test_what_the_store_has_is_not_sent_twice(root, client, monkeypatch, tmp_path):
    """The answer was lost, not the request."""
    table = tmp_path / "table.csv"
    table.write_text("a\n1\n")
    with failing(monkeypatch, OSError("no answer"), before=False), start(root, details=lambda: DETAILS) as run:
        for step in range(5):
            run.log({"loss": step}, step=step)
        run.log_final({"f1": 80.5})
        run.artifact(table)
    for name in ("next", "third"):
        with start(root, name):
            pass
    (run,) = runs(client)
    assert curve(client, run, "loss") == [(step, float(step)) for step in range(5)]
    assert curve(client, run, "f1") == [(0, 80.5)]
    assert len(runs(client, "warm")) == 1
    assert kept(root) == []


def test_a_run_whose_id_never_came_back_is_made_once(root, client, monkeypatch):
    from mlflow.tracking import MlflowClient

    create = MlflowClient.create_run

    def lost(self, *words, **more):
        create(self, *words, **more)
        raise OSError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", lost)
        with start(root) as run:
            run.log({"loss": 1}, step=0)
    assert run.run_id is None
    with start(root, "next"):
        pass
    (run,) = runs(client)
    assert run.info.status == "FINISHED" and curve(client, run, "loss") == [(0, 1.0)]


def test_a_store_that_falls_behind_gets_the_whole_curve_later(root, client, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tracking, "QUEUE_CALLS", 5)
        with start(root) as run:
            for step in range(3000):
                run.log({"loss": step}, step=step)
    run._thread.join(60)
    with start(root, "next"):
        pass
    (run,) = runs(client)
    assert curve(client, run, "loss") == [(step, float(step)) for step in range(3000)]
    assert run.info.status == "FINISHED"


def test_a_run_that_a_stage_may_go_on_with_waits_for_it(root, client, tmp_path):
    """Killed while the store was away: its points are in the same run, before those of the second process."""
    state = tmp_path / "scratch" / "tracking.json"
    killed = python(
        root,
        f"""
        from distill.tracking.session import Session
        def away(self, calls):
            raise OSError("away")
        Session.send = away
        run = start(state=Path({str(state)!r}))
        for step in range(5):
            run.log({{"loss": step}}, step=step)
        run._thread.join(60)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    assert killed.returncode == -signal.SIGKILL
    with start(root, "other"):
        pass
    assert len(kept(root)) == 1
    with start(root, state=state) as run:
        for step in range(3, 8):
            run.log({"loss": step}, step=step)
    (kept_run,) = runs(client)
    assert kept_run.info.run_id == run.run_id and kept_run.info.status == "FINISHED"
    assert curve(client, kept_run, "loss") == [(step, float(step)) for step in range(8)]
    assert kept(root) == []


def test_a_killed_run_that_nobody_goes_on_with_is_sent_as_killed(root, client, tmp_path):
    state = tmp_path / "scratch" / "tracking.json"
    killed = python(
        root,
        f"""
        tracking.late.Sender.send_next = lambda self: time.sleep(60)
        run = start(state=Path({str(state)!r}))
        for step in range(5):
            run.log({{"loss": step}}, step=step)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    assert killed.returncode == -signal.SIGKILL
    shutil.rmtree(state.parent)
    with start(root, "next"):
        pass
    (run,) = runs(client)
    assert run.info.status == "KILLED" and len(curve(client, run, "loss")) == 5


def test_a_stage_that_failed_and_runs_again_is_one_run(root, client, monkeypatch, tmp_path):
    state = tmp_path / "scratch" / "tracking.json"
    with failing(monkeypatch, OSError("away")), pytest.raises(ValueError), start(root, state=state) as run:
        run.log({"loss": 0}, step=0)
        raise ValueError
    with start(root, state=state) as run:
        run.log({"loss": 1}, step=1)
    (kept_run,) = runs(client)
    assert kept_run.info.status == "FINISHED"
    assert curve(client, kept_run, "loss") == [(0, 0.0), (1, 1.0)]


def test_a_finished_stage_that_runs_again_is_another_run(root, client, monkeypatch, tmp_path):
    state = tmp_path / "scratch" / "tracking.json"
    with failing(monkeypatch, OSError("away")), start(root, state=state) as run:
        run.log({"loss": 0}, step=0)
    shutil.rmtree(state.parent)
    with start(root, state=state) as run:
        run.log({"loss": 1}, step=0)
    assert sorted(curve(client, run, "loss") for run in runs(client)) == [[(0, 0.0)], [(0, 1.0)]]


def test_what_the_store_refuses_is_set_aside_and_the_others_go_on(root, client, monkeypatch, capfd):
    from mlflow.exceptions import MlflowException

    for name in ("bad", "good"):
        with failing(monkeypatch, OSError("away")), start(root, name):
            pass
    send = Session.send

    def refuse(self: Session, calls: list) -> list[str]:
        if self._spec.name == "bad":
            raise MlflowException("no such value", error_code=1000)  # INVALID_PARAMETER_VALUE
        return send(self, calls)

    monkeypatch.setattr(Session, "send", refuse)
    with start(root, "next"):
        pass
    assert [run.info.status for run in runs(client, "good") + runs(client, "next")] == ["FINISHED"] * 2
    (left,) = kept(root)
    assert left.name.endswith(".refused") and json.loads((left / "run.json").read_bytes())["spec"]["name"] == "bad"
    assert f"bad is refused (MlflowException: no such value): kept in {left}" in capfd.readouterr().err


def test_a_store_that_fails_again_keeps_everything(root, client, monkeypatch, capfd):
    for name in ("first", "second"):
        with failing(monkeypatch, OSError("away")), start(root, name) as run:
            run.log({"loss": 1}, step=0)
    assert [path.is_dir() for path in kept(root)] == [True, True]
    with failing(monkeypatch, OSError("away")):
        assert late.send_all(root, print) == 0
    assert len(kept(root)) == 2 and "first still waits in .scratch/tracking (OSError: away)" in capfd.readouterr().out
    assert late.send_all(root, print) == 2
    assert kept(root) == [] and len(runs(client, "first") + runs(client, "second")) == 2


def test_runs_go_to_the_store_that_they_were_meant_for(root, client, monkeypatch, tmp_path):
    with failing(monkeypatch, OSError("away")), start(root):
        pass
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    assert late.send_all(root, print) == 0 and len(kept(root)) == 1
    assert not (tmp_path / "other.db").exists()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert late.send_all(root, print) == 1


def test_a_run_that_a_process_holds_is_left_to_it(root, monkeypatch):
    with failing(monkeypatch, OSError("away")), start(root):
        pass
    uri = store.store_uri(root.resolve())
    (held,) = spool.waiting(root, uri)
    assert list(spool.waiting(root, uri)) == []
    held.release()
    (again,) = spool.waiting(root, uri)
    again.release()


def test_a_stage_sent_late_does_not_end_a_pipeline_that_goes_on(root, client, monkeypatch):
    with (
        failing(monkeypatch, OSError("away")),
        pytest.raises(ValueError),
        start(root, "early", details=lambda: DETAILS),
    ):
        raise ValueError
    with start(root, "last", details=lambda: DETAILS):
        pass
    (parent,) = runs(client, "warm")
    assert parent.info.status == "FINISHED"
    assert runs(client, "early")[0].info.status == "FAILED"
    assert runs(client, "early")[0].data.tags["mlflow.parentRunId"] == parent.info.run_id


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"spec": null}'])
def test_a_damaged_description_stops_nothing(root, client, monkeypatch, damage):
    with failing(monkeypatch, OSError("away")), start(root):
        pass
    (folder,) = kept(root)
    (folder / "run.json").write_text(damage)
    os.utime(folder, (0, 0))
    with start(root, "next"):
        pass
    assert len(runs(client, "next")) == 1 and kept(root) == []


@pytest.mark.parametrize("damage", ["{", '["metrics"', '["artifact"]\n', '["champion", 3]\n', "\x00\n"])
def test_a_line_that_is_cut_off_costs_that_line(root, client, monkeypatch, damage):
    with failing(monkeypatch, OSError("away")), start(root) as run:
        run.log({"loss": 1}, step=0)
    (folder,) = kept(root)
    calls = folder / "calls.jsonl"
    calls.write_text(calls.read_text() + damage)
    with start(root, "next"):
        pass
    (run,) = runs(client)
    assert curve(client, run, "loss") == [(0, 1.0)] and kept(root) == []


def test_a_spool_that_cannot_be_written_costs_one_line(root, client, capfd):
    (root / ".scratch").write_text("a file")
    with start(root) as run:
        run.log({"loss": 1}, step=0)
    assert curve(client, runs(client)[0], "loss") == [(0, 1.0)]
    (line,) = capfd.readouterr().err.splitlines()
    assert (
        "nothing is kept in .scratch/tracking, for a store that fails (FileExistsError" in line or "NotADirect" in line
    )


def test_a_disk_that_fills_up_costs_one_line_and_no_point(root, client, monkeypatch, capfd):
    append = spool.Entry.append

    def full(self: spool.Entry, call: tuple) -> None:
        if call[0] == "metrics" and call[2] == 3:
            raise OSError(28, "No space left on device")
        append(self, call)

    monkeypatch.setattr(spool.Entry, "append", full)
    with start(root) as run:
        for step in range(6):
            run.log({"loss": step}, step=step)
    assert len(curve(client, runs(client)[0], "loss")) == 6
    (line,) = capfd.readouterr().err.splitlines()
    assert "No space left on device" in line
