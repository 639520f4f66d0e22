"""Two slots against one machine, with shell commands for stages: a killed worker, and a remote that goes."""

import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from distill.experiments import params_file
from distill.runtime.files import file_hash, files_below
from tests.helpers import micro
from tests.pipeline.fan import stub

pytestmark = [pytest.mark.slow, pytest.mark.integration]
COMMAND = ("python", "-m", "pipeline.commands.fan", "--slots", "2", "--chunk", "2", "--poll", "0.1", "--price", "36")

NOBODY_WRITES = "/sys/fan-store"  # a file system of the kernel's, where nobody makes a folder, root neither


@pytest.fixture(scope="module")
def fanned(tmp_path_factory, python):
    """`plain`: a repository after `dvc repro`; `repo`: one after fan-outs, of which `broken` lost its remote."""
    folder = tmp_path_factory.mktemp("stub")
    plain, repo = stub.repo(folder / "plain", folder / "nothing"), stub.repo(folder / "repo", folder)
    code = f"{repo / 'src'}{os.pathsep}{repo}"
    env = micro.with_programs(python) | {"PYTHONPATH": code}
    micro.run(plain, "dvc", "repro", env=env)
    refused = micro.run(repo, *COMMAND, env=env, check=False)
    micro.run(repo, "dvc", "remote", "add", "-d", "store", NOBODY_WRITES, env=env)
    unwritable = micro.run(repo, *COMMAND, env=env, check=False)
    micro.run(repo, "dvc", "remote", "add", "-d", "-f", "store", str(folder / "store"), env=env)
    for mark in ("kill-kd-1", "break-ft-2"):
        (folder / mark).touch()
    broken = micro.run(repo, *COMMAND, env=env, check=False)
    (folder / "store").unlink()
    (folder / "away").rename(folder / "store")
    mended = micro.run(repo, *COMMAND, env=env)
    return SimpleNamespace(
        folder=folder,
        plain=plain,
        repo=repo,
        env=env,
        refused=refused,
        unwritable=unwritable,
        broken=broken,
        mended=mended,
    )


def contents(repo):
    return {f"{folder}/{name}": file_hash(file) for folder in stub.OUTPUTS for name, file in files_below(repo / folder)}


def test_the_bytes_are_those_of_dvc_repro(fanned):
    assert contents(fanned.repo) == contents(fanned.plain)
    assert len(contents(fanned.plain)) >= 4 * 3 + 4
    assert "Running stage 'distill" not in fanned.mended.stdout


def test_a_killed_worker_is_retried(fanned):
    assert (fanned.folder / "killed").exists()
    output = fanned.broken.stdout + fanned.mended.stdout
    # Others may be lost when the remote goes, and their stages be planned anew as jobs of other names.
    lost = {line.partition(":")[0] for line in output.splitlines() if ": lost after" in line}
    (name,) = [name for name in lost if "kd-1" in name]
    assert output.count(f"{name}: submitted") >= 2 and f"{name}: done" in output and "cost 0." in output


def test_a_remote_that_goes_ends_it_in_one_line_and_nothing_is_lost(fanned):
    assert fanned.broken.returncode == 2 and (fanned.folder / "broken").exists()
    (line,) = fanned.broken.stderr.splitlines()
    assert "DVC remote store" in line and "run the same command again: what is done stays done" in line
    assert "base-" not in fanned.mended.stdout


def _is_below(process, folder):
    """Whether a process is at work in a folder."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(folder)
    except psutil.Error:
        return False


def test_control_c_ends_it_in_one_word_and_the_next_command_goes_on(fanned, tmp_path):
    """As from a terminal: the signal goes to all processes of the foreground."""
    repo = stub.repo(tmp_path / "repo", tmp_path, seeds=(1,))
    env = {"PYTHONPATH": f"{repo / 'src'}{os.pathsep}{repo}"}  # Python itself: the tests' own passes no signal on
    micro.run(repo, "dvc", "remote", "add", "-d", "store", str(tmp_path / "store"), env=env)
    (tmp_path / "hold-kd-1").touch()
    with (tmp_path / "output").open("w") as output, (tmp_path / "errors").open("w") as errors:
        running = subprocess.Popen(
            COMMAND,
            cwd=repo,
            env=micro.environment(**env),
            stdout=output,
            stderr=errors,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
        )
        try:
            end = time.monotonic() + 120
            while not (tmp_path / "held").exists():
                assert running.poll() is None and time.monotonic() < end
                time.sleep(0.1)
            os.killpg(running.pid, signal.SIGINT)
            assert running.wait(60) == 130
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
    assert (tmp_path / "errors").read_text().split() == ["stopped"]
    assert not [process for process in psutil.process_iter() if _is_below(process, tmp_path)]
    (tmp_path / "hold-kd-1").unlink()
    again = micro.run(repo, *COMMAND, env=env | {"PATH": fanned.env["PATH"]})
    made, plain = contents(repo), contents(fanned.plain)
    made.pop("metrics/report.html")  # there it is of two seeds
    assert made == {name: plain[name] for name in made} and len(made) >= 2 * 3 + 3
    # What had been handed in was not run again.
    lines = (tmp_path / "output").read_text().splitlines()
    done = {line.partition(":")[0] for line in lines if ": done after" in line}
    assert done and not any(f"{name}: submitted" in again.stdout for name in done)


def test_without_a_remote_nothing_begins(fanned):
    assert fanned.refused.returncode == 2 and "dvc remote add -d store" in fanned.refused.stderr
    assert ": submitted" not in fanned.refused.stdout


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="needs a folder where nobody can write")
def test_a_remote_that_cannot_be_written_is_one_line_and_nothing_begins(fanned):
    """Its error is that of a full one, too: tests/pipeline/fan/test_store.py."""
    assert fanned.unwritable.returncode == 2
    (line,) = fanned.unwritable.stderr.splitlines()
    assert f"DVC remote store ({NOBODY_WRITES}): cannot be written" in line and "mend it and run" in line
    assert ": submitted" not in fanned.unwritable.stdout


def test_a_change_runs_what_it_changes_and_nothing_is_left_behind(fanned):
    assert not list((fanned.folder / "store" / "fan").glob("*/*"))
    file = fanned.repo / "params.yaml"
    before = file.read_text()
    file.write_text(params_file.replace(before, {("kd", "temperature"): 4}))
    plan = micro.run(fanned.repo, *COMMAND, "--plan", env=fanned.env).stdout
    file.write_text(before)
    assert "1 jobs on 2 slots" in plan and "students-kd-1-" in plan and "   4 stages" in plan
    assert "for want of a record in data/runs: distill, evaluate" in plan
