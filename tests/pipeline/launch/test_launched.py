"""A stage that this machine runs as two processes: how they start, and how they end when something ends one of them.

The stage is a small module in place of a training; tests/pipeline/test_processes.py has trainings.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.helpers import micro

pytestmark = [pytest.mark.slow, pytest.mark.integration]

# Under a name of a stage that shares its work.
STAGE = """
import os, signal, sys, time
from pathlib import Path
from distill.errors import UserError
from distill.runtime import distributed
from pipeline.launch import launcher
from pipeline.launch.run import run_stage

launcher.command = lambda script, words: ["-m", script, *words]

def main(how):
    rank = distributed.rank()
    Path(f"{rank}.pid").write_text(str(os.getpid()))
    distributed.wait()
    if how == "refuse":
        raise UserError("params.yaml: no")
    if how == "fail" and rank == 1:
        raise RuntimeError("a bug")
    if how == "wait":
        time.sleep(120)
    if how.startswith("SIG") and rank == 1:
        os.kill(os.getpid(), getattr(signal, how))
    if how == "settings":
        from accelerate import Accelerator
        accelerator = Accelerator(cpu=True)
        how = f"{accelerator.mixed_precision} {accelerator.state.dynamo_plugin.backend.value}"
    distributed.wait()
    Path(f"{rank}.level").write_text(os.environ.get("TORCH_CPP_LOG_LEVEL", ""))
    threads = os.environ["OMP_NUM_THREADS"]
    Path(f"{rank}.words").write_text(f"{how!r} {distributed.count()} {os.environ['MASTER_ADDR']} {threads}")

if __name__ == "__main__":
    run_stage(main)
"""


# Its entry in dvc.yaml, whatever its word.
ENTRY = """
stages:
  finetune:
    matrix: {how: [wait]}
    cmd: python -m pipeline finetune ${item}
"""


@pytest.fixture
def start(tmp_path, python):
    """Starts the stage in a folder and a terminal session of its own; whatever is left of it is ended.

    Its processes have the libraries imported already: programs stand for them, and pass a kill on, but no other signal.
    Those that are `cold` begin as everybody's do: the launcher, or all.
    """
    started: list[subprocess.Popen] = []

    def begin(how: str, folder: Path = tmp_path, cold: str = "", **environment: str) -> subprocess.Popen:
        folder.mkdir(exist_ok=True)
        (folder / "finetune.py").write_text(STAGE)
        (folder / "dvc.yaml").write_text(ENTRY)
        paths = os.pathsep.join([str(micro.ROOT / "src"), str(micro.ROOT)])
        warm = str(python / "python")
        environment = {
            **micro.with_programs(python),
            "PYTHON_EXEC": sys.executable if cold == "all" else warm,  # torchrun's name for what it starts
            "PYTHONPATH": paths,
            "HF_HOME": str(folder),
            "DISTILL_PROCESSES": "2",
        } | environment
        process = subprocess.Popen(
            [sys.executable if cold else warm, "-m", "finetune", how],
            cwd=folder,
            env=micro.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def pids(folder: Path) -> list[int]:
    """The two processes, when both have met."""
    files = [folder / "0.pid", folder / "1.pid"]
    end = time.monotonic() + 120
    while not all(file.exists() and file.read_text() for file in files):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
    return [int(file.read_text()) for file in files]


def gone(folder: Path) -> bool:
    """Whether both processes end within ten seconds."""
    end = time.monotonic() + 10
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids(folder)):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_several_stages_start_at_once_and_each_has_two_processes(start, tmp_path):
    both = [start("--num_processes=9", tmp_path / name, OMP_NUM_THREADS="3") for name in ("one", "other")]
    for process, name in zip(both, ("one", "other"), strict=True):
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out, err) == (0, "", "")
        for rank in (0, 1):
            # A word that looks like an option is the stage's; the address needs no name that resolves.
            assert (tmp_path / name / f"{rank}.words").read_text() == "'--num_processes=9' 2 localhost 3"
            # Or the C++ code of a process that imports it now would warn of what a training does.
            assert (tmp_path / name / f"{rank}.level").read_text() == "ERROR"


def test_torchruns_of_two_nodes_meet(start, tmp_path):
    """Both on this machine, each with one process."""
    from accelerate.utils.other import get_free_port

    launcher = "python -m torch.distributed.run --nnodes 2 --nproc-per-node 1 --local-addr localhost --max-restarts 0"
    launcher += f" --rdzv-backend c10d --rdzv-id nodes --rdzv-endpoint localhost:{get_free_port()}"
    nodes = [start("x", DISTILL_LAUNCH=launcher) for _ in range(2)]
    for node in nodes:
        err = node.communicate(timeout=120)[1]
        assert node.returncode == 0, err
    assert [(tmp_path / f"{rank}.words").read_text() for rank in (0, 1)] == ["'x' 2 localhost 1"] * 2


def test_accelerates_file_gives_the_number_and_nothing_else(start, tmp_path):
    """Precision is a parameter: a file that asks for another one would change results from machine to machine."""
    (tmp_path / "accelerate").mkdir()
    (tmp_path / "accelerate" / "default_config.yaml").write_text(
        "distributed_type: MULTI_CPU\nnum_machines: 1\nnum_processes: 2\nmixed_precision: bf16\ngpu_ids: '0'\n"
        "dynamo_backend: INDUCTOR\nmain_process_port: 1\n"
    )
    process = start("settings", DISTILL_PROCESSES="")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (0, "", "")
    assert (tmp_path / "1.words").read_text().startswith("'no NO' 2 ")


def test_an_error_is_told_once_with_its_exit_code(start):
    process = start("refuse")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (2, "", "error: params.yaml: no\n")


def test_a_bug_keeps_its_traceback_and_ends_all(start, tmp_path):
    process = start("fail")
    err = process.communicate(timeout=120)[1]
    assert process.returncode == 1 and gone(tmp_path)
    assert err.count("RuntimeError: a bug") == err.count("Traceback") == 1 and "ChildFailedError" not in err


@pytest.mark.parametrize(("name", "why"), [("SIGKILL", " (too little memory?)"), ("SIGSEGV", "")])
def test_a_process_that_is_killed_is_named(start, tmp_path, name, why):
    process = start(name)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1 and gone(tmp_path) and out == ""
    said = f"error: process 1 of 2 was ended by {name}, which ended the others too{why}; the same command goes on"
    assert err == f"{said} from here\n"


def test_an_interrupt_of_the_terminal_ends_all_with_one_line(start, tmp_path):
    process = start("wait", cold="all")
    pids(tmp_path)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "stopped; run the same command to go on\n")
    assert gone(tmp_path)


def test_a_launcher_that_is_told_to_end_ends_all(start, tmp_path):
    process = start("wait", cold="launcher")
    pids(tmp_path)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM and gone(tmp_path)


def test_a_launcher_that_is_killed_leaves_nobody(start, tmp_path):
    process = start("wait")
    pids(tmp_path)
    process.kill()
    assert gone(tmp_path)
    assert "the process that started this stage" in process.communicate(timeout=60)[1]
