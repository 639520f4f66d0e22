"""Locks, exit codes, and stages that end when their DVC does: with real processes."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from distill.errors import UserError
from pipeline.launch.run import run_stage
from pipeline.process.disk import disk_full
from pipeline.process.locks import exclusive, holder_file, remove_unheld
from pipeline.process.mend import mend_dvc
from tests.helpers import micro

STARTER = """
import os, subprocess, sys
if "shell" in sys.argv[1]:
    command = ["bash", "-c", f"{sys.executable} {sys.argv[2]}; true"]   # bash stays in between
else:
    command = [sys.executable, sys.argv[2]]
subprocess.run(command, env={**os.environ, "DVC_STAGE": "dummy"})
"""

WORKER = """
import os, subprocess, sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from pipeline.launch.run import watch_starter
from pipeline.process.locks import exclusive
watch_starter(0.1)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
with exclusive(Path({lock!r}), "dummy", 5):
    Path({pids!r}).write_text(f"{{os.getpid()}} {{child.pid}}")
    time.sleep(60)
"""


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def worker(tmp_path, root):
    """Starts WORKER below a process called like DVC; gives (starter, pids of the worker and of its child)."""
    script, starter, pids = tmp_path / "worker.py", tmp_path / "dvc", tmp_path / "pids"
    script.write_text(WORKER.format(root=str(root), lock=str(tmp_path / "locks" / "x.lock"), pids=str(pids)))
    starter.write_text(STARTER)
    started = []

    def start(how="direct", environment=None):
        command = [sys.executable, str(starter), how, str(script)]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        started.extend([process.pid, *map(int, pids.read_text().split())])
        return process, *started[-2:]

    yield start
    for pid in started:
        if not gone(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("how", ["direct", "shell"])
def test_an_orphan_ends_within_two_seconds_and_takes_its_children_along(worker, how):
    starter, stage, child = worker(how)
    starter.kill()
    began = time.monotonic()
    wait_for(lambda: gone(stage) and gone(child), 5)
    assert time.monotonic() - began < 2
    assert "has gone" in starter.stderr.read()


def test_a_killed_shell_in_between_ends_the_stage_too(worker):
    starter, stage, child = worker("shell")
    shell = psutil.Process(stage).parent()
    assert shell.name() == "bash"
    shell.kill()
    wait_for(lambda: gone(stage) and gone(child), 2)
    starter.wait(5)


def test_the_lock_of_a_killed_stage_is_free_at_once(worker, tmp_path):
    starter, stage, _ = worker()
    lock = tmp_path / "locks" / "x.lock"
    assert json.loads(holder_file(lock).read_text())["pid"] == stage
    with pytest.raises(UserError, match=f"process {stage} .*kill"), exclusive(lock, "dummy", 0.2):
        pass
    os.kill(stage, signal.SIGKILL)
    starter.wait(5)
    with exclusive(lock, "dummy", 2):
        assert json.loads(holder_file(lock).read_text())["pid"] == os.getpid()
    assert list(lock.parent.iterdir()) == []


def test_a_repeated_start_waits_for_the_orphan_to_end(worker, tmp_path, capsys):
    starter, stage, _ = worker()
    starter.kill()
    with exclusive(tmp_path / "locks" / "x.lock", "dummy", 5):
        assert gone(stage)
    assert f"waiting for process {stage}" in capsys.readouterr().out


def test_without_dvc_a_process_outlives_its_starter(tmp_path, root):
    script, pid = tmp_path / "plain.py", tmp_path / "pid"
    script.write_text(
        f"import os, sys, time; sys.path.insert(0, {str(root)!r})\n"
        "from pipeline.launch.run import watch_starter\n"
        "assert watch_starter(0.05) is None\n"
        f"open({str(pid)!r}, 'w').write(str(os.getpid()))\n"
        "time.sleep(30)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "DVC_STAGE"}
    code = f"import subprocess, sys; subprocess.run([sys.executable, {str(script)!r}])"
    starter = subprocess.Popen([sys.executable, "-c", code], env=environment)
    wait_for(lambda: pid.exists() and pid.read_text())
    stage = int(pid.read_text())
    starter.kill()
    starter.wait()
    time.sleep(0.5)
    try:
        assert not gone(stage)
    finally:
        os.kill(stage, signal.SIGKILL)


def test_locks_removed_by_their_holders_still_exclude(tmp_path, root):
    """Many processes count up one number; each holder removes the lock file under the others' feet."""
    counter, lock = tmp_path / "counter", tmp_path / "locks" / "x.lock"
    counter.write_text("0")
    code = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(root)!r})
        from pathlib import Path
        from pipeline.process.locks import exclusive
        counter = Path({str(counter)!r})
        for _ in range(20):
            with exclusive(Path({str(lock)!r}), "count", 60):
                counter.write_text(str(int(counter.read_text()) + 1))
            try:
                Path({str(lock.parent)!r}).rmdir()
            except OSError:
                continue
    """)
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert counter.read_text() == "80"


@pytest.mark.parametrize("collision", [1, 2], ids=["our mkdir", "filelock's mkdir"])
def test_a_lock_s_folder_removed_between_mkdir_and_the_look_at_it_is_made_again(tmp_path, monkeypatch, collision):
    """The last holder of a lock removes the empty folder at any time, also while another process makes it."""
    lock = tmp_path / "locks" / "x.lock"
    lock.parent.mkdir()
    mkdir, collisions = os.mkdir, []

    def removed_after_a_collision(path, *rest, **options):
        try:
            mkdir(path, *rest, **options)
        except FileExistsError:
            collisions.append(path)
            if len(collisions) == collision:
                os.rmdir(path)
            raise

    monkeypatch.setattr(os, "mkdir", removed_after_a_collision)
    with exclusive(lock, "dummy", 1):
        assert len(collisions) >= collision, "no mkdir met the folder: the test tries nothing"
        assert lock.exists()


def test_a_file_in_the_place_of_the_lock_s_folder_is_an_error_and_no_endless_wait(tmp_path):
    (tmp_path / "locks").write_text("in the way")
    with pytest.raises(FileExistsError), exclusive(tmp_path / "locks" / "x.lock", "dummy", 1):
        pass
    assert (tmp_path / "locks").read_text() == "in the way"


def test_only_what_nobody_holds_is_removed(tmp_path):
    lock, folder = tmp_path / "a.lock", tmp_path / "a"
    folder.mkdir()
    with exclusive(lock, "dummy", 1):
        remove_unheld(lock, folder)
        assert lock.exists() and folder.exists()
    remove_unheld(lock, folder)
    assert list(tmp_path.iterdir()) == []


def end_of(main, capsys, words=("ted", "1")):
    """Exit code and stderr of the main function of stage distill."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["/x/pipeline/distill.py", *words])
        patch.delenv("DVC_STAGE", raising=False)
        with pytest.raises(SystemExit) as caught:
            run_stage(main)
    return caught.value.code, capsys.readouterr().err


def raising(error):
    def main(*words):
        raise error

    return main


def test_exit_codes_and_lines(capsys):
    assert end_of(lambda *words: None, capsys) == (0, "")
    assert end_of(raising(UserError("params.yaml: ted.mse_alpha\nis 'x'")), capsys) == (
        2,
        "error: params.yaml: ted.mse_alpha is 'x'\n",
    )
    assert end_of(raising(KeyboardInterrupt()), capsys) == (130, "stopped; run the same command to go on\n")
    full = OSError(errno.ENOSPC, "No space left on device", "data/x.arrow")
    code, line = end_of(raising(full), capsys)
    assert code == 2
    assert line.startswith("error: disk full: no space left to write data/x.arrow;")
    assert line.count("\n") == 1
    with pytest.raises(ZeroDivisionError):
        run_stage(raising(ZeroDivisionError()), "distill", ["ted", "1"])


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"DISTILL_PROCESSES": "²"}, "DISTILL_PROCESSES: '²': expected a number of processes"),
        ({"DISTILL_LAUNCH": "srun 'torchrun"}, "DISTILL_LAUNCH: "),
        ({"DISTILL_LAUNCH": "no-such-launcher"}, "DISTILL_LAUNCH: 'no-such-launcher' cannot be started"),
        ({"RANK": "x", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "RANK='x', "),
    ],
)
def test_a_setting_of_the_machine_that_makes_no_sense_is_one_line(settings, line, capsys, monkeypatch):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    code, text = end_of(lambda *words: None, capsys)
    assert code == 2 and text.startswith(f"error: {line}") and text.count("\n") == 1


def test_words_of_the_command_line(capsys):
    seen = []

    def main(method, seed):
        seen.append((method, seed))

    assert end_of(main, capsys, ["ted", "2"]) == (0, "")
    assert seen == [("ted", "2")]
    for words in ([], ["a", "b", "c"]):
        code, line = end_of(main, capsys, words)
        assert code == 2 and line.count("\n") == 1
        assert "expected `python -m pipeline distill <method> <seed>`" in line


def test_a_full_disk_is_recognised_in_every_library_s_words(tmp_path, monkeypatch):
    rust = RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    wrapped = RuntimeError("could not save")
    wrapped.__cause__ = OSError(errno.EDQUOT, "Disk quota exceeded")
    torch = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")
    assert f"write {tmp_path}" in disk_full(rust, tmp_path)
    assert disk_full(wrapped, tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 5, 5))
    assert disk_full(torch, tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 0, 10**12))
    assert disk_full(torch, tmp_path) is None
    assert disk_full(OSError(errno.EACCES, "Permission denied"), tmp_path) is None
    assert disk_full(None, tmp_path) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_truly_full_device(capsys):
    def main(*words):
        with open("/dev/full", "wb") as stream:
            stream.write(b"0" * 100_000)

    code, line = end_of(main, capsys)
    assert code == 2
    assert "disk full" in line and "Free some space" in line


DVC_LOCK = """schema: '2.0'
stages:
  prepare:
    cmd: python -m pipeline.prepare
    params:
      params.yaml:
        data.name: null
        data.seed: 1
    outs:
    - path: data/prepared
      hash: md5
      md5: 6a2a5b0e2a9f4c1d8e7b3a5f60718293.dir
      size: 12
"""


@pytest.mark.parametrize(
    ("text", "torn"),
    [
        (DVC_LOCK, False),
        ("", True),
        (DVC_LOCK[:7], True),
        (DVC_LOCK[: DVC_LOCK.index("  - path") + 9], True),
        (DVC_LOCK[: DVC_LOCK.index("hash") + 2], True),
        (DVC_LOCK[: DVC_LOCK.index(" 12")], True),
        (DVC_LOCK[: DVC_LOCK.index("2a5b0e")], True),
        (DVC_LOCK[: DVC_LOCK.index("      params.yaml")], True),
        ("<<<<<<< HEAD\n" + DVC_LOCK, False),
    ],
)
def test_a_dvc_lock_cut_off_by_a_kill_is_moved_aside(tmp_path, capsys, text, torn):
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    (tmp_path / "dvc.lock").write_text(text)
    mend_dvc(tmp_path)
    assert (tmp_path / "dvc.lock").exists() is not torn
    assert (tmp_path / ".dvc" / "tmp" / "dvc.lock.torn").exists() is torn
    assert capsys.readouterr().out.startswith("dvc.lock was cut off") is torn


def test_dvc_runs_again_after_its_files_were_cut_off(tmp_path, python):
    """With DVC itself: refuses the torn files, and restores everything from its cache once they are moved."""

    def dvc(*words):
        return micro.run(tmp_path, str(python / "dvc"), *words, check=False)

    assert dvc("init", "--no-scm").returncode == 0
    stage = "stages:\n  a:\n    cmd: echo once >> log && echo 1 > out\n    deps: [in]\n    outs: [out]\n"
    (tmp_path / "dvc.yaml").write_text(stage)
    (tmp_path / "in").write_text("1")
    assert dvc("repro").returncode == 0
    before = (tmp_path / "dvc.lock").read_text()
    (tmp_path / "dvc.lock").write_text("")
    (tmp_path / ".dvc" / "tmp" / "rwlock").write_text("")
    assert dvc("repro").returncode != 0
    mend_dvc(tmp_path)
    done = dvc("repro")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "dvc.lock").read_text() == before
    assert (tmp_path / "log").read_text() == "once\n"


def test_a_file_that_a_live_dvc_is_writing_is_left_alone(tmp_path, monkeypatch):
    folder = tmp_path / ".dvc" / "tmp"
    folder.mkdir(parents=True)
    (folder / "rwlock").write_text("")
    monkeypatch.setattr("pipeline.process.mend.acquire", lambda lock, path, seconds: False)
    mend_dvc(tmp_path)
    assert (folder / "rwlock").exists()
