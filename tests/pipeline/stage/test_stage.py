"""What every stage shares: scratch, resume after a kill, outputs in one step, one line per failure."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from distill.errors import UserError
from distill.tracking.run import Run
from pipeline.launch.run import run_stage
from pipeline.process import tracked
from pipeline.process.locks import exclusive
from pipeline.process.records import record_file
from pipeline.stage import stage as module
from pipeline.stage.definition import Definition
from pipeline.stage.stage import Stage
from tests.helpers.stages import build, scratches, settings

# A "training" of 30 steps of 0.1 s with a checkpoint at every 5th: its result tells whether it was resumed rightly.
SCRIPT = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from pipeline.launch.run import run_stage
from pipeline.stage.definition import Definition
from pipeline.stage.stage import Stage
from distill.runtime.checkpoints import last_complete, seal

def main(seconds):
    definition = Definition("distill@dummy-1", deps=(Path("data/in"),), outs=(Path("data/model"),))
    with Stage(definition, wait_seconds=5) as stage:
        last = last_complete(stage.scratch)
        state = (last / "state").read_text().split() if last else []
        print("from", len(state), flush=True)
        for step in range(len(state) + 1, 31):
            time.sleep(float(seconds))
            state.append(str(step * step))
            if step % 5 == 0:
                checkpoint = stage.scratch / f"checkpoint-{{step}}"
                checkpoint.mkdir()
                (checkpoint / "state").write_text(" ".join(state))
                seal(checkpoint)
        model = stage.fresh("model")
        (model / "weights").write_text(" ".join(state))
        stage.publish(model, Path("data/model"))

run_stage(main)
"""


@pytest.fixture
def dummy(here, root):
    """Starts the dummy stage as a process of its own, below a starter called `dvc` where asked."""
    script, starter = here / "dummy.py", here / "dvc"
    script.write_text(SCRIPT.format(root=str(root)))
    starter.write_text("import os, subprocess, sys\nsys.exit(subprocess.run(sys.argv[1:]).returncode)\n")
    processes = []

    def start(seconds="0", under_dvc=False):
        command = [sys.executable, str(script), seconds]
        environment = dict(os.environ)
        if under_dvc:
            command = [sys.executable, str(starter), *command]
            environment["DVC_STAGE"] = "distill@dummy-1"
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def test_success_publishes_reports_and_leaves_no_scratch(here, capsys):
    with build(outputs=[Path("data/model"), Path("data/out.json")]) as stage:
        assert stage.scratch.parent == here / ".scratch"
        stage.read(Path("data/in"), "20,000 questions")
        (stage.fresh("model") / "weights").write_bytes(b"0" * 4_100_000)
        stage.publish(stage.scratch / "model", Path("data/model"))
        stage.write_json(Path("data/out.json"), {"b": 1, "a": "é"})
        stage.figures({"f1": 81.234, "questions": 20000})
    assert (here / "data" / "out.json").read_bytes() == '{\n  "b": 1,\n  "a": "é"\n}\n'.encode()
    assert not (here / ".scratch").exists()
    assert not (here / "data" / "runs").exists()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "evaluate@ted-1"
    assert lines[2].split(maxsplit=2) == ["read", "data/in", "20,000 questions"]
    assert lines[3].split(maxsplit=2) == ["wrote", "data/model", "4.1 MB in 1 files"]
    assert lines[4].split(maxsplit=2) == ["wrote", "data/out.json", "26 bytes"]
    assert [line.split() for line in lines[5:7]] == [["f1", "81.23"], ["questions", "20,000"]]
    assert re.fullmatch(r"  done in [\d.]+ s", lines[7])


def test_failure_keeps_the_scratch_and_frees_the_locks(here):
    with pytest.raises(ZeroDivisionError), build() as stage:
        (stage.scratch / "checkpoint-1").mkdir()
        raise ZeroDivisionError
    assert scratches(here) == [stage.scratch.name]
    assert list(here.glob(".scratch/*lock*")) == []
    with build() as again:
        assert again.resumed and again.scratch == stage.scratch
        again.write_json(Path("data/out.json"), {})
    assert not (here / ".scratch").exists()


def test_an_output_that_was_not_written_or_not_declared_is_a_bug(here):
    with pytest.raises(RuntimeError, match=r"without writing data/out\.json"), build():
        pass
    with pytest.raises(ValueError, match="not among its outputs"), build() as stage:
        stage.write_json(Path("data/other.json"), {})
    with pytest.raises(ValueError, match="JSON"), build() as stage:
        stage.write_json(Path("data/out.json"), {"loss": float("nan")})
    assert not (here / "data" / "out.json").exists()


def test_a_missing_input_is_named_with_the_command_that_makes_it(here):
    (here / "data" / "in").unlink()
    with pytest.raises(UserError, match=r"data/in: missing.*evaluate@ted-1.*dvc repro evaluate@ted-1"), build():
        pass
    assert not (here / ".scratch").exists()


def test_the_scratch_lies_below_the_repository_that_lasts(here, monkeypatch):
    """Under `dvc exp run --temp`, cwd is a throw-away copy: same inputs and params there find the same scratch."""
    with pytest.raises(KeyboardInterrupt), build() as first:
        raise KeyboardInterrupt
    copy = here / ".dvc" / "tmp" / "copy"
    (copy / "data").mkdir(parents=True)
    (copy / "data" / "in").write_text("1 2 3")
    monkeypatch.chdir(copy)
    with build() as second:
        second.write_json(Path("data/out.json"), {})
    assert second.scratch == first.scratch
    assert (copy / "data" / "out.json").exists()
    assert not (here / ".scratch").exists()


def test_success_removes_this_stage_s_other_scratch_that_nobody_holds(here):
    left = {}
    for name, rate in (("evaluate@ted-1", 0.2), ("evaluate@ted-1", 0.4), ("evaluate@ted-10", 0.1)):
        with pytest.raises(KeyboardInterrupt), build(name, rate) as stage:
            left[name, rate] = stage.scratch
            raise KeyboardInterrupt
    held = left["evaluate@ted-1", 0.4]
    with exclusive(held.with_name(f"{held.name}.lock"), "a copy of the repository"), build() as stage:
        stage.write_json(Path("data/out.json"), {})
    assert scratches(here) == sorted([held.name, left["evaluate@ted-10", 0.1].name])


def test_a_second_process_in_the_same_place_is_refused(here, dummy):
    first = dummy("0.3")
    wait_for(lambda: scratches(here))
    with (
        pytest.raises(UserError, match=f"distill@dummy-1 is being run by process {first.pid} "),
        Stage(Definition("distill@dummy-1", deps=(Path("data/in"),)), settings(0.2), wait_seconds=0.2),
    ):
        pass


@pytest.mark.parametrize("killed", ["stage", "dvc", "both"])
def test_killed_at_any_point_it_goes_on_and_ends_the_same(here, dummy, killed):
    assert dummy("0").wait(20) == 0
    expected = (here / "data" / "model" / "weights").read_bytes()

    starter = dummy("0.05", under_dvc=True)
    wait_for(lambda: list(here.glob(".scratch/*/checkpoint-10/complete.json")))
    (stage,) = psutil.Process(starter.pid).children()
    if killed in ("dvc", "both"):
        starter.send_signal(signal.SIGKILL)
    if killed in ("stage", "both"):
        stage.kill()
    starter.wait(5)
    # A checkpoint cut off half-way, newer than all others.
    torn = here / ".scratch" / scratches(here)[0]
    (torn / "checkpoint-999").mkdir()
    (torn / "checkpoint-999" / "state").write_text("1 4 9")

    again = dummy("0")
    output, _ = again.communicate(timeout=20)
    assert again.returncode == 0, output
    assert not psutil.pid_exists(stage.pid) or stage.status() == psutil.STATUS_ZOMBIE
    assert int(re.search(r"from (\d+)", output)[1]) >= 10
    assert "checkpoint-999 cannot be used" in output
    assert (here / "data" / "model" / "weights").read_bytes() == expected
    assert not (here / ".scratch").exists()


def test_a_full_disk_is_one_line_exit_2_and_the_old_output_stays(here, root, monkeypatch, capsys):
    (here / "data" / "out.json").write_text("old")

    def main():
        with build() as stage:
            stage.write_json(Path("data/out.json"), {"f1": 1.0})

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(SystemExit) as caught:
            run_stage(main, "x", [])
    said = capsys.readouterr().err
    assert caught.value.code == 2
    assert said.startswith("error: disk full: no space left to write .scratch;")
    assert said.count("\n") == 1
    assert (here / "data" / "out.json").read_text() == "old"
    assert len(scratches(here)) == 1


def test_facts_of_a_run_are_recorded_once_it_has_succeeded(here, monkeypatch):
    assert record_file("distill@ted-1") == Path("data/runs/distill-ted-1.json")
    outputs = [Path("data/out.json"), record_file("evaluate@ted-1")]

    class Told(Run):
        def close(self, status="FINISHED"):
            self.run_id = f"known at the end: {status}"

    started = {}

    def start(**settings):
        started.update(settings)
        return Told(settings["name"], 0.0)

    monkeypatch.setattr(module, "start_run", start)
    with pytest.raises(KeyboardInterrupt), build(outputs=outputs) as stage:
        stage.record({"steps": 3})
        (stage.scratch / "checkpoint-1").mkdir()
        raise KeyboardInterrupt
    assert not outputs[1].exists()
    with build(outputs=outputs, tracked=True, tags={"method": "ted"}) as stage:
        stage.write_json(outputs[0], {})
        stage.record({"examples_per_second": 12.5})
        state = stage.scratch / "tracking.json"
    facts = json.loads(outputs[1].read_text())
    assert facts["run_id"] == "known at the end: FINISHED"
    assert facts["examples_per_second"] == 12.5
    assert facts["seconds"] >= 0 and facts["resumed"] is True
    peak = psutil.Process().memory_info().rss / 1e6
    assert 0 < facts["peak_memory_mb"] < psutil.virtual_memory().total / 1e6
    assert facts["peak_memory_mb"] > 0.5 * peak  # at the end it holds what it held at its most, or less
    assert facts["versions"]["torch"] and facts["device"]
    assert started.pop("details").func is tracked.details
    assert started == {
        "root": here,
        "experiment": "distillation",
        "name": "evaluate@ted-1",
        "params": {"tuning": {"rate": 0.1}},
        "tags": {"method": "ted"},
        "state": state,
        "curve_name": tracked.curve_name,
        "shared": False,
    }


def test_small_outputs_are_kept_with_the_run(here, monkeypatch):
    """Under their paths; folders, such as models, and the record of the run are not."""
    kept = []

    class Told(Run):
        def artifact(self, path, folder=None):
            kept.append((path.name, folder))

    monkeypatch.setattr(module, "start_run", lambda **settings: Told(settings["name"], 0.0))
    monkeypatch.setattr(tracked, "ARTIFACT_BYTES", 20)
    outputs = [Path(name) for name in ("data/small.json", "data/large.json", "data/model")]
    outputs.append(record_file("evaluate@ted-1"))
    with build(outputs=outputs, tracked=True) as stage:
        stage.write_json(outputs[0], {})
        stage.write_json(outputs[1], list(range(20)))
        (stage.fresh("model") / "weights").write_text("1")
        stage.publish(stage.scratch / "model", outputs[2])
        stage.record({})
    assert kept == [("small.json", "data")]


def test_an_untracked_stage_s_run_ignores_every_call(here):
    with build() as stage:
        stage.run.log({"loss": 1.0}, 1)
        stage.run.log_final({"f1": 1.0})
        stage.write_json(Path("data/out.json"), {})
    assert not (here / "mlflow.db").exists()
