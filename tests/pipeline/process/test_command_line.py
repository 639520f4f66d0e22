"""A process that has just been started has no command line for a moment."""

import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from pipeline.process.command_line import command_line
from pipeline.process.dvc_process import is_dvc


def starting(answers: list[list[str]], ppid: int = 10) -> SimpleNamespace:
    """A process whose command line is asked several times; it notes how often."""
    asked = []

    def cmdline() -> list[str]:
        asked.append(None)
        return answers[min(len(asked), len(answers)) - 1]

    return SimpleNamespace(pid=11, ppid=lambda: ppid, cmdline=cmdline, name=lambda: "python", asked=asked)


def test_it_is_asked_again_until_it_has_words():
    words = ["python", "-m", "dvc", "repro"]
    assert command_line(starting([[], [], words])) == words
    assert is_dvc(starting([[], [], words]))


def test_a_thread_of_the_kernel_is_asked_once():
    thread = starting([[]], ppid=2)
    assert command_line(thread) == [] and len(thread.asked) == 1


def test_a_process_that_was_started_this_moment_has_its_words():
    """On a busy machine `cmdline` alone says nothing in half of the cases."""
    words = [sys.executable, "-IS", "-c", "import sys; sys.stdin.read()"]  # it lives until its input is closed
    for _ in range(50):
        with subprocess.Popen(words, stdin=subprocess.PIPE) as process:
            assert command_line(psutil.Process(process.pid)) == words


def test_one_that_has_gone_is_an_error():
    with subprocess.Popen([sys.executable, "-IS", "-c", "pass"]) as process:
        pass
    with pytest.raises(psutil.NoSuchProcess):
        command_line(psutil.Process(process.pid))
