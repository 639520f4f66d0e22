"""DVC with less reading does what DVC does."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import dvc
import pytest

from pipeline.commands import dvc_reading, quick_dvc
from pipeline.process.dvc_process import is_dvc
from tests.helpers import micro

STAGES = """
stages:
  write:
    matrix: {name: "${names}"}
    cmd: cp params.yaml ${item.name}.txt
    params: ["${item.name}", common.on]
    outs: ["${item.name}.txt"]
  always:
    cmd: echo "1e-5" > seen.txt
    always_changed: true
    outs: [seen.txt]
"""
PARAMS = """
names: [one, two]
one: {rate: 1.0e-5, text: 'no'}
two: {rate: 2, nothing: ~}
common: {on: [1, ~]}
"""


def run(folder: Path, *words: str) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(micro.ROOT / "src"), str(micro.ROOT)])}
    done = subprocess.run([sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_run_has_the_same_lock_file_and_messages(tmp_path):
    """Where stages of a matrix are new, changed, and as they were."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    (first / "dvc.yaml").write_text(STAGES)
    (first / "params.yaml").write_text(PARAMS)
    (first / ".dvc").mkdir()
    (first / ".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n")
    run(first, "pipeline.commands.quick_dvc", "repro")
    shutil.copytree(first, second)
    for folder in (first, second):
        (folder / "params.yaml").write_text(PARAMS.replace("rate: 2", "rate: 3"))
    words = [("dvc",), ("pipeline.commands.quick_dvc",)]
    plain, quick = (run(folder, *word, "repro") for folder, word in zip((first, second), words, strict=True))
    assert plain == quick and "Stage 'write@one' didn't change, skipping" in quick and "'write@two':" in quick
    assert (first / "dvc.lock").read_bytes() == (second / "dvc.lock").read_bytes()
    assert "rate: 3" in (second / "dvc.lock").read_text()


def test_the_short_cuts_are_tested_for_the_version_that_is_installed():
    """Before another one is added: the tests of `dvc_reading` compare the two, and pass with it."""
    assert ".".join(dvc.__version__.split(".")[:2]) in quick_dvc.TESTED


def test_another_version_runs_as_it_is(monkeypatch, capsys):
    monkeypatch.setattr(dvc, "__version__", "3.99.0")
    monkeypatch.setattr(dvc_reading, "install", lambda: pytest.fail("short cuts that nobody has tested"))
    monkeypatch.setattr(quick_dvc, "run_dvc", lambda words: words)
    assert quick_dvc.main(["repro", "-f"]) == ["repro", "-f"]
    assert "DVC 3.99.0: it runs as it is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["python", "-m", "pipeline.commands.quick_dvc", "repro"], True),
        (["/usr/bin/python3", "/opt/bin/dvc", "repro"], True),
        (["python", "-m", "pipeline", "distill"], False),
        (["bash", "-c", "sleep 1; pipeline.commands.quick_dvc"], False),
    ],
)
def test_a_stage_knows_the_program_that_started_it(words, expected):
    """Or it would end at once, as after the death of its DVC (`launch.run.watch_starter`)."""
    assert is_dvc(SimpleNamespace(name=lambda: "python", cmdline=lambda: words)) == expected
