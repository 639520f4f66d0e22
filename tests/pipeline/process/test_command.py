"""How commands end: with a code, and one line."""

import ast
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distill.errors import UserError
from pipeline.process import command
from tests.helpers.micro import ROOT


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (3, 3)])
def test_a_command_ends_with_its_own_code(result, code):
    assert command.run(lambda: result) == code


def test_what_the_user_can_mend_is_one_line(capsys):
    def main(name):
        raise UserError(f"{name}:\n  missing")

    assert command.run(main, "params.yaml") == 2
    assert capsys.readouterr().err == "error: params.yaml: missing\n"


def test_ctrl_c_has_no_traceback(capsys):
    def main():
        raise KeyboardInterrupt

    assert command.run(main) == 130 and capsys.readouterr().err == "\nstopped\n"


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        command.run(lambda: 1 // 0)


#: How a program for people is run, as the last line of its file says; and one that prints more than a pipe holds.
RUNS = {
    "command.run(": "import sys; from pipeline.process import command; sys.exit(command.run(prints))",
    "cli.run(": "from distill.inference import cli; cli.run(prints)",
    "run_stage(": "from pipeline.launch.run import run_stage; run_stage(prints, 'corpus', [])",
}


@pytest.mark.parametrize("run", RUNS.values())
def test_a_reader_that_has_seen_enough(root, run):
    """More than a pipe holds, and a reader that ends after a line."""
    code = f"def prints(*words):\n    for _ in range(1000):\n        print('x' * 1000)\n{run}"
    environment = os.environ | {"PYTHONPATH": f"{root / 'src'}:{root}"}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment, "text": True, "cwd": root},
    )
    process.stdout.readline()
    process.stdout.close()
    code, said = process.wait(60), process.stderr.read()
    assert code == command.UNREAD and "Traceback" not in said and said.count("\n") == ("run_stage" in run)


def programs() -> list[str]:
    """Files of the project that can be run: commands for people, stages, and the verbs of the library."""
    files = [file for folder in ("pipeline", "src/distill") for file in (ROOT / folder).rglob("*.py")]
    names = {file.relative_to(ROOT).as_posix() for file in files if isinstance(last(file), ast.If)}
    return sorted(names - {"pipeline/__main__.py"})  # runs a stage: test_main.py


def last(file: Path) -> ast.stmt | None:
    """The last statement of a file."""
    return (ast.parse(file.read_text()).body or [None])[-1]


@pytest.mark.parametrize("name", programs())
def test_every_program_is_run_by_what_ends_it_in_one_line(name):
    (line,) = map(ast.unparse, last(ROOT / name).body)
    assert any(run in line for run in RUNS), line


def test_programs_are_found():
    found = programs()
    assert {"pipeline/commands/preset.py", "pipeline/commands/ui.py", "pipeline/process/mend.py"} < set(found)
    assert {"src/distill/answer.py", "src/distill/serve.py", "pipeline/plan.py"} < set(found) and len(found) > 30


def test_ctrl_c_ends_the_pages_of_mlflow_without_a_word_of_theirs(root, tmp_path):
    """A stand-in for the server says when it runs and how it ends; the real one is looked at in test_mlflow_ui.py."""
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow/__init__.py").write_text("")
    server = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
    server += "print('serving', sys.argv[1:], flush=True)\ntime.sleep(60)\n"
    (tmp_path / "mlflow/__main__.py").write_text(server)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{root / 'src'}:{root}"}
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.commands.ui", "--port", "5099"],
        **{"cwd": tmp_path, "env": environment, "text": True, "start_new_session": True},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )
    assert "'--port', '5099'" in process.stdout.readline()
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "\nstopped\n")
