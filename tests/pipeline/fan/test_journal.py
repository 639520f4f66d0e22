"""Jobs on record: what is read again, what is damaged, and `--cancel` of what earlier commands have submitted."""

import json
import time
from types import SimpleNamespace

import pytest

from pipeline.commands import fan
from pipeline.fan.backends import submit
from pipeline.fan.backends.base import Submission
from pipeline.fan.backends.submit import Submitit
from pipeline.fan.jobs import Job
from pipeline.fan.journal import Journal, Running

FILE = "running.json"
JOB = Job("students", (("distill@kd-1", "evaluate@kd-1"), ("distill@kd-2",)))


def test_it_reads_what_it_has_written_and_nothing_of_another_engine(tmp_path):
    running = [Running(JOB, "4711", 1, 12.5)]
    Journal(tmp_path, "slurm").write(running)
    assert Journal(tmp_path, "slurm").read() == running
    assert Journal(tmp_path, "local").read() == []


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"null", b"{}", b'{"backend": "local"}', b'{"backend": "local", "running": [{"job": 1}]}']
    + [b'{"backend": "local", "running": null}', b"\xff\xfe", b"[" * 100_000],
)
def test_a_damaged_one_has_no_jobs(tmp_path, damage):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / FILE).write_bytes(damage)
    assert Journal(tmp_path / "run", "local").read() == [] and Journal.recorded(tmp_path) == []


def test_cancel_ends_the_jobs_of_all_fan_outs_on_their_own_engines(tmp_path, monkeypatch, capsys):
    """A job that runs here, of a fan-out with other parameters, and one that was handed to SLURM."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(submit, "script", lambda *arguments: "sleep 60")
    folders = {name: tmp_path / fan.FOLDER / name for name in ("3f2a81", "77aa01")}
    (folders["3f2a81"] / "job.json").parent.mkdir(parents=True)
    folders["77aa01"].mkdir()
    local = Submitit("local", folders["3f2a81"] / "submitit", str(tmp_path), 0, {})
    handle = local.submit(Submission("base-1", folders["3f2a81"] / "job.json", 0, folders["3f2a81"] / "base-1.log"))
    Journal(folders["3f2a81"], "local").write([Running(JOB, handle, 0, time.time())])
    Journal(folders["77aa01"], "slurm").write([Running(JOB, "4711", 0, time.time())])
    asked, make = [], fan.registry.make
    monkeypatch.setattr(
        fan.registry,
        "make",
        lambda name, *rest: SimpleNamespace(cancel=asked.append) if name == "slurm" else make(name, *rest),
    )
    assert fan.main(["--cancel"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{JOB.name}: cancelled on {name}" for name in ("local", "slurm")]
    assert asked == ["4711"]
    for _ in range(200):
        if local.state(handle).word == "ended":
            break
        time.sleep(0.05)
    assert local.state(handle).word == "ended"
    assert all(json.loads((folder / FILE).read_text())["running"] == [] for folder in folders.values())
    assert fan.main(["--cancel"]) == 0
    assert capsys.readouterr().out == "nothing to cancel: no job is on record\n"
