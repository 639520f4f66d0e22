"""The tests' own ways to start stages: ends, streams and environment are those of a process started by hand."""

import os
import shutil
import signal
import subprocess
import time

import psutil
import pytest

from tests.helpers import micro


@pytest.mark.parametrize(
    ("setup", "code"),
    [
        ("import os; os._exit(7)", 7),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("raise SystemExit(3)", 3),
        ("raise ValueError('a bug')", 1),
        ("import threading; assert threading.active_count() == 1; raise SystemExit(4)", 4),
        ("import multiprocessing; assert multiprocessing.get_start_method() != 'forkserver'; raise SystemExit(5)", 5),
    ],
)
def test_a_stage_ends_with_its_own_code(stages, tmp_path, setup, code):
    done = stages.run(tmp_path, "evaluate", setup=setup, check=False)
    assert done.code == code, done.err
    assert ("ValueError: a bug" in done.err) == (code == 1)


def test_a_stage_that_has_ended_is_not_waited_for(stages, tmp_path):
    done = stages.kill_when(tmp_path, "evaluate", condition=lambda: False)
    assert done.code == 2 and "error: dvc.yaml: No such file or directory" in done.err


@pytest.fixture
def run(python, tmp_path):
    """Runs the `python` that has the libraries imported, on a module of the text given."""

    def of(text: str, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        (tmp_path / "probe.py").write_text(text)
        command = [str(python / "python"), "-m", "probe", *words]
        environment = micro.environment(PROBE="as asked", PYTHONPATH="")
        return subprocess.run(command, cwd=tmp_path, env=environment, input=given, capture_output=True, text=True)

    return of


def test_python_has_the_words_folder_environment_and_streams_of_its_caller(run, tmp_path):
    text = """
import os, sys
print(sys.argv[1:], os.getcwd(), os.environ["PROBE"], sys.stdin.read(), __name__)
print("aside", file=sys.stderr)
"""
    done = run(text, "a b", "c", given="from stdin")
    assert done.stdout == f"['a b', 'c'] {tmp_path} as asked from stdin __main__\n"
    assert (done.stderr, done.returncode) == ("aside\n", 0)


def test_python_has_imported_the_libraries_and_nothing_of_another_project(run):
    done = run("import sys; print([name in sys.modules for name in ('torch', 'distill', 'pipeline', 'tests')])")
    assert done.stdout == "[True, False, False, False]\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("raise SystemExit(7)", 7),
        ("import os; os._exit(8)", 8),
        ("import os; os.kill(os.getpid(), 9)", -9),
        ("raise SystemExit('why')", 1),
        ("1 / 0", 1),
    ],
)
def test_python_ends_with_the_code_of_the_module(run, text, code):
    done = run(text)
    assert done.returncode == code
    assert ("why" in done.stderr) == ("why" in text) and ("ZeroDivisionError" in done.stderr) == (text == "1 / 0")


def test_python_reads_each_modules_code_anew(run, tmp_path):
    """Edited within one second, and in its length: the time and the size that bytecode is kept under are the same."""
    other = tmp_path / "other.py"
    numbers = []
    for number in range(3):
        other.write_text(f"number = {number}")
        os.utime(other, (1e9, 1e9))
        numbers.append(run("import other; print(other.number)").stdout)
    assert numbers == ["0\n", "1\n", "2\n"]


def test_whoever_kills_the_program_python_kills_what_it_has_started(python, tmp_path):
    (tmp_path / "probe.py").write_text("import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)")
    program = subprocess.Popen([python / "python", "-m", "probe"], cwd=tmp_path)
    until = time.monotonic() + 60
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
        assert time.monotonic() < until and program.poll() is None
        time.sleep(0.01)
    program.kill()
    assert program.wait() == -signal.SIGKILL
    pid = int((tmp_path / "pid").read_text())
    assert pid != program.pid
    until = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("edited", [False, True])
def test_python_runs_the_projects_code_of_its_folder(python, tmp_path, edited):
    """Whether its modules are kept or imported anew, they lie in the folder; what is edited there counts."""
    for name in ("pipeline", "src"):
        shutil.copytree(micro.ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    if edited:
        (tmp_path / "src/distill/errors.py").write_text("raise SystemExit('edited')")
    (tmp_path / "probe.py").write_text(
        "import sys\nfrom pipeline.stage import stage\nimport distill.report.page as page\n"
        "print(stage.__file__, page.__file__, 'transformers' in sys.modules, __name__)"
    )
    environment = micro.environment(PYTHONPATH=str(tmp_path / "src"))
    command = [str(python / "python"), "-m", "probe"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    files = [tmp_path / name for name in ("pipeline/stage/stage.py", "src/distill/report/page.py")]
    assert done.stdout == ("" if edited else f"{files[0]} {files[1]} True __main__\n"), done.stderr
    assert done.returncode == int(edited) and ("edited" in done.stderr) == edited
