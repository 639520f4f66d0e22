"""How commands end: with a code, and one line."""

import os
import signal
import subprocess
import sys
import time

import pytest

from distill.errors import UserError
from pipeline.process import command


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


def test_a_reader_that_has_seen_enough(root):
    """More than a pipe holds, and a reader that ends after a line."""
    code = "import sys; from pipeline.process import command\n"
    code += "sys.exit(command.run(lambda: [print('x' * 1000) for _ in range(1000)] and None))"
    environment = os.environ | {"PYTHONPATH": f"{root / 'src'}:{root}"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    )
    process.stdout.readline()
    process.stdout.close()
    assert (process.wait(60), process.stderr.read()) == (command.UNREAD, "")


def test_every_command_for_people_ends_like_this(root):
    for path in sorted((root / "pipeline/commands").glob("*.py")):
        text = path.read_text()
        assert "__main__" not in text or "command.run(" in text, path


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
