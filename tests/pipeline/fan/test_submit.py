"""Jobs by submitit: its local executor, and sbatch as a program that writes down what it is given."""

import shlex
import time

import pytest

from distill.errors import UserError
from pipeline.fan.backends import base, submit
from pipeline.fan.backends.base import Submission, script
from pipeline.fan.backends.submit import Submitit
from tests.helpers import micro


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job whose script is the test's own."""
    file = tmp_path / "students-1.json"
    file.write_text("{}")

    def made(text, slot=0):
        monkeypatch.setattr(submit, "script", lambda *arguments: text)
        return Submission("students-1", file, slot, tmp_path / "students-1.log")

    return made


def end_of(backend, handle):
    for _ in range(400):
        if (state := backend.state(handle)).word == "ended":
            return state
        time.sleep(0.05)
    raise AssertionError("it goes on")


def test_codes_logs_and_devices_of_a_local_job(tmp_path, job):
    backend = Submitit("local", tmp_path / "submitit", str(tmp_path), 2, {})
    handle = backend.submit(job("echo devices $CUDA_VISIBLE_DEVICES; exit 2", slot=1))
    assert end_of(backend, handle).code == 2
    assert "devices 2,3" in (tmp_path / "students-1.log").read_text()
    # A later process has the handle alone.
    assert end_of(Submitit("local", tmp_path / "submitit", str(tmp_path), 0, {}), handle).code == 2


@pytest.mark.parametrize(
    ("slots", "own", "policy"), [(1, None, "unset"), (2, None, "passive"), (2, "active", "active")]
)
def test_threads_of_jobs_that_share_cores_sleep_while_they_wait(tmp_path, job, monkeypatch, slots, own, policy):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if own:
        monkeypatch.setenv("OMP_WAIT_POLICY", own)
    backend = Submitit("local", tmp_path / "submitit", str(tmp_path), 0, {}, slots=slots)
    end_of(backend, backend.submit(job("echo policy ${OMP_WAIT_POLICY:-unset}")))
    assert f"policy {policy}\n" in (tmp_path / "students-1.log").read_text()


def test_a_local_job_that_is_killed_has_no_code_and_one_can_be_cancelled(tmp_path, job):
    backend = Submitit("local", tmp_path / "submitit", str(tmp_path), 0, {})
    assert end_of(backend, backend.submit(job("kill -9 $$"))).code is None
    handle = backend.submit(job("sleep 60"))
    later = Submitit("local", tmp_path / "submitit", str(tmp_path), 0, {})
    assert later.state(handle).word == "running"
    later.cancel(handle)
    assert end_of(later, handle).code is None


def test_sbatch_gets_the_users_options(tmp_path, job, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "sbatch").write_text(f'#!/bin/sh\ncp "$1" {tmp_path}/sheet\necho "Submitted batch job 4711"\n')
    (programs / "sacct").write_text(f'#!/bin/sh\necho "JobID|State|NodeList"\necho "4711|$(cat {tmp_path}/state)|n1"\n')
    (programs / "scancel").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/cancelled\n')
    (programs / "srun").write_text("#!/bin/sh\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    (tmp_path / "state").write_text("RUNNING")
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    options = {"slurm_partition": "gpu", "timeout_min": 90, "slurm_additional_parameters": {"requeue": True}}
    backend = Submitit("slurm", tmp_path / "submitit", str(tmp_path), 1, options)
    handle = backend.submit(job("true"))
    sheet = (tmp_path / "sheet").read_text()
    for line in ("--partition=gpu", "--time=90", "--gpus-per-node=1", "--requeue"):
        assert f"#SBATCH {line}" in sheet
    assert handle == "4711" and backend.state(handle).word == "running"
    backend.cancel(handle)
    assert (tmp_path / "cancelled").read_text().strip() == "4711"
    (tmp_path / "state").write_text("NODE_FAIL")
    later = Submitit("slurm", tmp_path / "submitit", str(tmp_path), 1, options)
    later._job(handle).watcher.clear()
    assert end_of(later, handle) == base.State("ended")


def test_a_refusing_sbatch_and_an_unknown_option_are_one_line(tmp_path, job, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="--backend slurm: .*are you indeed on a slurm cluster"):
        Submitit("slurm", tmp_path / "submitit", str(tmp_path), 0, {})
    with pytest.raises(UserError, match="--backend local: .*colour.*: see --option"):
        Submitit("local", tmp_path / "submitit", str(tmp_path), 0, {"colour": 1})


def test_a_package_that_is_not_installed_is_named_with_its_extra():
    with pytest.raises(UserError, match=r"--backend needs no_such_engine .*pip install .*'\.\[fan\]'"):
        base.load("no_such_engine", "fan")


def test_the_script_clones_once_and_runs_the_clones_code(tmp_path):
    """The commands themselves, with a `python` that says where and how it is run."""
    work, job = tmp_path / "w o", tmp_path / "a b.json"
    for words in (["init", "-q", "-b", "fan", "r"], ["-C", "r", "commit", "-q", "--allow-empty", "-m", "start"]):
        micro.run(tmp_path, "git", *words)
    micro.run(tmp_path / "r", "git", "bundle", "create", "-q", str(job.with_suffix(".bundle")), "fan")
    (tmp_path / "python").write_text('#!/bin/sh\necho "$PWD|$PYTHONPATH|$@" > "$OUT"; exit 75\n')
    (tmp_path / "python").chmod(0o755)
    text = script("students-1", shlex.quote(str(job)), "$PLACE/w o", "export OUT=out")
    env = {"PLACE": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    for _ in range(2):
        assert micro.run(tmp_path, "bash", "-c", text, env=env, check=False).returncode == 75
        clone = work / "students-1"
        assert (clone / "out").read_text().strip() == f"{clone}|{clone}/src:{clone}|-m pipeline.fan.node {job}"
        (clone / "kept").touch()
    assert (clone / "kept").exists()
