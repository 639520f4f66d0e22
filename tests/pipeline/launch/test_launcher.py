"""Which setting of the machine makes a training stage several processes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from distill.errors import UserError
from pipeline.launch import launcher
from tests.helpers import micro

PATHS = os.pathsep.join([str(micro.ROOT), str(micro.ROOT / "src")])
FILE = "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_GPU\nnum_machines: {}\nnum_processes: {}\n"


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """A machine without any setting; gives where accelerate's would be."""
    names = (
        "RANK",
        "WORLD_SIZE",
        "LOCAL_RANK",
        "LOCAL_WORLD_SIZE",
        "DISTILL_PROCESSES",
        "DISTILL_LAUNCH",
        "XDG_CACHE_HOME",
    )
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    (tmp_path / "accelerate").mkdir()
    return tmp_path / "accelerate" / "default_config.yaml"


def test_one_process_is_the_rule():
    assert launcher.wanted("distill") == 1


def test_the_number_of_processes_counts_for_stages_that_have_work_to_share(monkeypatch):
    monkeypatch.setenv("DISTILL_PROCESSES", "4")
    assert [
        launcher.wanted(script) for script in ("distill", "finetune", "train_filters", "train_generator", "predict")
    ] == [4] * 5
    assert [launcher.wanted(script) for script in ("prepare", "evaluate", "summarize", "retrieve")] == [1] * 4


def test_a_process_that_was_launched_launches_none(monkeypatch):
    for name, value in {"DISTILL_PROCESSES": "4", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert launcher.is_worker() and launcher.wanted("distill") == 1


@pytest.mark.parametrize("value", ["0", "two", "-1", "1.5", "²", "9" * 5000])
def test_a_number_that_is_none_is_refused(monkeypatch, value):
    monkeypatch.setenv("DISTILL_PROCESSES", value)
    with pytest.raises(UserError, match=f"DISTILL_PROCESSES: '{value}': expected a number of processes"):
        launcher.wanted("distill")


def test_a_launcher_with_an_open_quote_is_refused(monkeypatch):
    monkeypatch.setenv("DISTILL_LAUNCH", "srun 'torchrun --nnodes 2")
    with pytest.raises(UserError, match="DISTILL_LAUNCH: .*srun.*: no closing quotation: correct it"):
        launcher.wanted("distill")


def test_accelerates_file_counts_where_nothing_else_is_said(monkeypatch, machine):
    machine.write_text(FILE.format(1, 8))
    assert launcher.wanted("distill") == 8
    monkeypatch.setenv("DISTILL_LAUNCH", "srun torchrun --nnodes 2 --rdzv-id 'a b'")
    assert launcher.wanted("distill") == ["srun", "torchrun", "--nnodes", "2", "--rdzv-id", "a b"]
    monkeypatch.setenv("DISTILL_LAUNCH", "")
    monkeypatch.setenv("DISTILL_PROCESSES", "1")
    assert launcher.wanted("distill") == 1


def test_a_launcher_trains_and_the_number_of_processes_serves_the_stage_that_stays_on_one_machine(monkeypatch):
    monkeypatch.setenv("DISTILL_LAUNCH", "srun torchrun --nnodes 2")
    monkeypatch.setenv("DISTILL_PROCESSES", "8")
    for script in ("distill", "finetune", "train_filters", "train_generator"):
        assert launcher.wanted(script) == ["srun", "torchrun", "--nnodes", "2"]
    assert launcher.wanted("predict") == 8 and launcher.wanted("evaluate") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (FILE.format(2, 16), ["num_machines: 2", "DISTILL_LAUNCH"]),
        (FILE.format(1, "many"), ["num_processes: 'many'", "expected a number"]),
        (FILE.format(1, -1), ["num_processes: -1", "expected a number"]),  # accelerate's "ask me at every launch"
        (FILE.format("some", 8), ["cannot be read", "accelerate config"]),
        (FILE.format(1, 8) + "gpus: 8\n", ["cannot be read", "gpus"]),
        ("num_processes: 8\n", ["cannot be read", "distributed_type"]),
        ("- a list\n", ["cannot be read"]),
        ("{\n", ["cannot be read"]),
        ("", ["cannot be read"]),
    ],
)
def test_a_file_that_cannot_be_followed_is_refused(monkeypatch, machine, text, words):
    machine.write_text(text)
    with pytest.raises(UserError) as error:
        launcher.wanted("distill")
    assert all(word in str(error.value) for word in [str(machine), *words])
    monkeypatch.setenv("DISTILL_PROCESSES", "2")
    assert launcher.wanted("distill") == 2


def test_one_process_imports_neither_torch_nor_accelerate():
    code = "import sys; from pipeline.launch import launcher; assert launcher.wanted('distill') == 1;"
    code += " sys.exit(bool({'torch', 'accelerate'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": PATHS}).returncode == 0


def test_a_launcher_is_given_the_stages_command(tmp_path):
    seen = tmp_path / "seen"
    code = f"import sys; open({str(seen)!r}, 'w').write(' '.join(sys.argv[1:])); sys.exit(7)"
    assert launcher.run([sys.executable, "-c", code], "distill", ["ted", "1"]) == 7
    assert seen.read_text().split() == launcher.command("distill", ["ted", "1"])


def test_the_one_process_of_a_launcher_does_not_launch_again(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_LAUNCH", "torchrun --nproc-per-node 1")
    code = "import sys; from pipeline.launch import launcher; sys.exit(0 if launcher.wanted('distill') == 1 else 7)"
    monkeypatch.setenv("PYTHONPATH", PATHS)
    assert launcher.run([sys.executable, "-c", code], "distill", []) == 0
    assert launcher.wanted("distill") == ["torchrun", "--nproc-per-node", "1"]


def test_several_machines_do_not_share_what_goes_into_the_same_files(monkeypatch, machine):
    machine.write_text(FILE.format(1, 8))
    monkeypatch.setenv("DISTILL_LAUNCH", "srun torchrun --nnodes 2")
    assert launcher.wanted("predict") == 1 and launcher.wanted("distill") != 1
    for name, value in {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert launcher.shares("distill") and not launcher.shares("predict")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert launcher.shares("predict") and not launcher.shares("evaluate")


def test_a_launcher_that_is_not_there_is_named():
    with pytest.raises(UserError, match="DISTILL_LAUNCH: 'no-such-launcher' cannot be started"):
        launcher.run(["no-such-launcher"], "distill", ["ted", "1"])


def test_a_launcher_that_is_killed_has_an_exit_code_of_its_own():
    code = "import os; os.kill(os.getpid(), 9)"
    assert launcher.run([sys.executable, "-c", code], "distill", []) == 128 + signal.SIGKILL


def test_an_interrupted_launcher_has_time_to_end_its_processes(tmp_path):
    """On other machines nobody else does; `subprocess.run` would kill it after a quarter of a second."""
    launcher = f"""
import signal, time
from pathlib import Path
def end(*_):
    time.sleep(1)
    Path({str(tmp_path)!r}, "ended").touch()
    raise SystemExit(1)
signal.signal(signal.SIGINT, end)
Path({str(tmp_path)!r}, "ready").touch()
time.sleep(60)
"""
    # Programs that a shell starts in the background ignore the signal, and theirs inherit that.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    code += "from pipeline.launch import launcher; launcher.run(sys.argv[1:], 'distill', [])"
    stage = subprocess.Popen(
        [sys.executable, "-c", code, sys.executable, "-c", launcher],
        env=os.environ | {"PYTHONPATH": PATHS},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "ready").exists():
        assert stage.poll() is None
        time.sleep(0.02)
    os.killpg(stage.pid, signal.SIGINT)  # as the terminal does
    assert "KeyboardInterrupt" in stage.communicate(timeout=30)[1]
    assert (tmp_path / "ended").exists()
