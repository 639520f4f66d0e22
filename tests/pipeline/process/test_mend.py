"""What `make repro` mends after a kill of DVC: locks of pids that others have today, and a detached HEAD."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from pipeline.process import mend
from tests.helpers import micro

DVC_YAML = """
stages:
  slow:
    cmd: python -c "import time; open('began', 'w').close(); time.sleep(60)"
    params: [value]
"""


@pytest.fixture
def repo(tmp_path):
    folder = tmp_path / "repo"
    (folder / ".dvc" / "tmp").mkdir(parents=True)
    return folder


def entry(pid: int, cmd: str) -> dict:
    return {"pid": pid, "cmd": cmd}


@pytest.fixture
def running():
    """A process whose command says dvc, as an entry of rwlock."""
    command = [sys.executable, "-c", "import time; time.sleep(60)", "dvc", "repro"]
    process = subprocess.Popen(command)
    yield entry(process.pid, "dvc repro")
    process.kill()
    process.wait()


def gone() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_locks_count_while_their_own_dvc_lives(repo, running, capsys):
    file = repo / ".dvc/tmp/rwlock"
    here = entry(os.getpid(), "dvc repro")  # a pid that another process has now
    stale = [here, entry(1, "dvc exp run"), entry(gone(), "dvc repro"), entry(running["pid"], "dvc exp run --temp")]
    held = {"write": {"/data/a": running}, "read": {"/data/b": [running]}}
    file.write_text(
        json.dumps(
            {
                "write": held["write"] | {f"/data/{n}": info for n, info in enumerate(stale)},
                "read": {"/data/b": [*stale, running], "/data/c": stale},
            }
        )
    )
    mend.free_stale_locks(repo)
    assert json.loads(file.read_text()) == held and "removed the locks" in capsys.readouterr().out
    mend.free_stale_locks(repo)
    assert capsys.readouterr().out == ""


def test_a_process_that_began_after_the_lock_was_written_does_not_hold_it(repo, running):
    file = repo / ".dvc/tmp/rwlock"
    file.write_text(json.dumps({"write": {"/data/a": running}, "read": {}}))
    before = psutil.Process(running["pid"]).create_time() - 10
    os.utime(file, (before, before))
    mend.free_stale_locks(repo)
    assert json.loads(file.read_text()) == {"write": {}, "read": {}}


@pytest.mark.parametrize("text", ["{}", "[]", '{"write": [], "read": {}}', '{"write": {"a": 1}, "read": {}}', "{", ""])
def test_other_formats_are_left_alone(repo, text):
    file = repo / ".dvc/tmp/rwlock"
    file.write_text(text)
    mend.free_stale_locks(repo)
    assert file.read_text() == text
    mend.free_stale_locks(repo.parent)  # no DVC repository


@pytest.fixture
def killed(tmp_path):
    """A repository in which `dvc exp run` was killed."""

    def run(*words: str) -> str:
        return micro.run(tmp_path, *words).stdout.strip()

    run("git", "init", "-q", "-b", "work")
    run("dvc", "init", "-q")
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    (tmp_path / "params.yaml").write_text("value: 1\n")
    (tmp_path / ".gitignore").write_text("/began\n")
    run("git", "add", "-A")
    run("git", "commit", "-qm", "first")
    command = ["dvc", "exp", "run", "-q", "-S", "value=2"]
    process = subprocess.Popen(command, cwd=tmp_path, env=micro.environment(), start_new_session=True)
    while not (tmp_path / "began").exists():
        assert process.poll() is None
        time.sleep(0.05)
    mend.reattach(tmp_path)
    assert run("git", "rev-parse", "--abbrev-ref", "HEAD") == "HEAD"  # it runs: left alone
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return tmp_path, run


def test_head_goes_back_to_its_branch(killed, capsys):
    folder, run = killed
    mend.reattach(folder)
    assert "back on work" in capsys.readouterr().out
    assert run("git", "rev-parse", "--abbrev-ref", "HEAD") == "work"
    assert run("git", "for-each-ref", "refs/exps/exec") == "" and run("git", "diff", "--cached", "--name-only") == ""
    assert (folder / "params.yaml").read_text() == "value: 2\n" and run("git", "status", "--short") == "M params.yaml"
    mend.reattach(folder)
    assert capsys.readouterr().out == ""


def test_a_change_within_a_second_is_seen(tmp_path, capsys):
    """DVC writes the first value and the experiment's within a second, and Git's index in the next one."""

    def run(*words: str) -> str:
        return micro.run(tmp_path, "git", *words).stdout.strip()

    file = tmp_path / "params.yaml"
    past = (10**18, 10**18)  # ns
    file.write_text("value: 1\n")
    os.utime(file, ns=past)
    for words in (("init", "-q", "-b", "work"), ("add", "-A"), ("commit", "-qm", "first")):
        run(*words)
    for name, value in (("core.checkStat", "minimal"), ("core.trustctime", "false")):
        run("config", name, value)
    file.write_text("value: 2\n")
    os.utime(file, ns=past)
    assert run("status", "--short") == ""
    run("checkout", "-q", "--detach")
    run("update-ref", "refs/exps/exec/EXEC_HEAD", "HEAD")
    mend.reattach(tmp_path)
    assert "back on work" in capsys.readouterr().out and file.read_text() == "value: 2\n"
    assert run("status", "--short") == "M params.yaml" and "+value: 2" in run("diff", "params.yaml")


def test_with_several_branches_the_user_chooses(killed, capsys):
    folder, run = killed
    run("git", "branch", "other")
    mend.reattach(folder)
    assert "`git switch other` or `git switch work`" in capsys.readouterr().out
    assert run("git", "rev-parse", "--abbrev-ref", "HEAD") == "HEAD"
    run("git", "switch", "-q", "work")
    mend.reattach(folder)
    assert run("git", "for-each-ref", "refs/exps/exec") == ""
