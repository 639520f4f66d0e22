"""Training stages in two processes: the same training as in one, and no trouble when one of them is killed."""

import contextlib
import csv
import json
import os
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest
from safetensors.numpy import load_file

from tests.helpers import micro

pytestmark = [pytest.mark.slow, pytest.mark.integration]

# 228 training features: the last update of an epoch has 4 rows, 2 for each process.
LONG = {"max_steps": None, "epochs": 1.5, "batch_size": 16, "gradient_accumulation": 2}
# A large epsilon: where a gradient is nothing but rounding, Adam would make a step of it.
LONG |= {"evaluations": 2, "keep": "best", "adam_epsilon": 1e-4}
SETTINGS = {f"{section}.{name}": value for section in ("student", "distill") for name, value in LONG.items()}
SETTINGS |= {"methods": ["ft", "kd", "lwd", "ted", "mate"], "mate.generator_steps": 2, "mate.student_steps": 4}
# command -> its model, its curves, and how close a loss is to that of one process. A term that is a mean over tokens
# is the mean of both processes' means: ted's mse.
STAGES = {
    "finetune student": ("data/models/student", "metrics/curves/student.csv", 1e-4),
    "distill ted 1": ("data/models/distill/ted/1", "metrics/curves/ted-1.csv", 2e-3),
}


@pytest.fixture(scope="module")
def start(base, tmp_path_factory) -> Path:
    """The micro repository with this file's parameters; not to be changed."""
    folder = shutil.copytree(base, tmp_path_factory.mktemp("start") / "repo")
    (folder / "params.yaml").write_text(micro.params(SETTINGS))
    return folder


@pytest.fixture(scope="module")
def trained(start, stages, two, tmp_path_factory):
    """Gives (repository, what was printed) after a command in one or two processes.

    Two that are `cold` begin as everybody's do: C++ code that is imported already prints as it was told then.
    """
    known = {}

    def of(command, count, cold=False):
        if (command, count, cold) not in known:
            folder = shutil.copytree(start, tmp_path_factory.mktemp("trained") / "repo")
            environment = {"DISTILL_PROCESSES": "2"} if cold else two
            done = stages.run(folder, *command.split(), env=environment if count == 2 else {})
            known[command, count, cold] = folder, done
        return known[command, count, cold]

    return of


def curves(repo, command):
    with (repo / STAGES[command][1]).open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def weights(repo, command):
    return load_file(repo / STAGES[command][0] / "model.safetensors")


# How two processes begin that have imported nothing, `launch/test_launched.py` asks for.
@pytest.mark.parametrize(
    ("command", "cold"),
    [*((command, False) for command in STAGES), pytest.param("finetune student", True, marks=pytest.mark.exhaustive)],
)
def test_two_processes_train_as_one_does(trained, command, cold):
    (one, _), (two, done) = trained(command, 1), trained(command, 2, cold)
    close = STAGES[command][2]
    expected, found = curves(one, command), curves(two, command)
    assert len(found) == len(expected) > 8
    for row, other in zip(expected, found, strict=True):
        assert other == pytest.approx(row, rel=close)
    own, moved = weights(two, command), 0.0
    before = load_file(one.parent / "repo" / "data/models/student/model.safetensors")
    for name, value in weights(one, command).items():
        assert own[name] == pytest.approx(value, abs=3 * close), name
        moved = max(moved, abs(value - before[name]).max()) if command.startswith("distill") else 1.0
    assert moved > 10 * close  # or weights that were not trained at all would be close
    assert done.out.count("read    data/prepared") == 1 and done.out.count("done in") == 1
    assert done.err == ""


def test_two_processes_score_as_one_does(trained):
    (one, _), (two, _) = (trained("finetune student", count) for count in (1, 2))
    scores = [json.loads((repo / "metrics/selection/student.json").read_text()) for repo in (one, two)]
    assert scores[0] == pytest.approx(scores[1]) and scores[0]


def test_two_processes_predict_what_one_does(start, stages, two, tmp_path):
    """The batches are those of one process, so that not a byte differs."""
    kept = {}
    for count in ("1", "2"):
        repo = shutil.copytree(start, tmp_path / count)
        for name in ("teacher", "states"):
            shutil.rmtree(repo / "data" / name)
        done = stages.run(repo, "predict", env=two if count == "2" else {})
        assert done.out.count("keeps") == done.out.count("done in") == 1 and done.err == ""
        files = [file for name in ("teacher", "states") for file in (repo / "data" / name).rglob("*") if file.is_file()]
        kept[count] = {file.relative_to(repo).as_posix(): file.read_bytes() for file in files}
    assert kept["1"] == kept["2"] and "data/states/hidden-2/00000.npy" in kept["2"]


def test_a_generator_and_a_student_take_turns(start, stages, two, tmp_path):
    repo = shutil.copytree(start, tmp_path / "repo")
    (repo / "params.yaml").write_text(micro.params(SETTINGS | {"distill.max_steps": 8, "generator.max_steps": 2}))
    stages.run_all(repo, (("inputs",), ("plan",), ("train_generator",), ("signals",)))
    stages.run(repo, "distill", "mate", "1", env=two)
    with (repo / "metrics/curves/mate-1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert any(row["generator"] for row in rows) and any(row["adversarial"] for row in rows)
    assert (repo / "data/models/distill/mate/1/model.safetensors").exists()


def test_a_batch_that_cannot_be_dealt_out_is_refused_once(start, stages, two, tmp_path):
    repo = shutil.copytree(start, tmp_path / "repo")
    (repo / "params.yaml").write_text(micro.params({"distill.batch_size": 9}))
    done = stages.run(repo, "distill", "kd", "1", env=two, check=False)
    assert done.code == 2
    assert done.err.count("error: params.yaml: batch_size: 9 examples per update cannot be dealt to 2 processes") == 1


def programs_of(repo):
    """The programs that torchrun has started in this repository, by rank."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("DVC_ROOT") == str(repo) and process.status() != psutil.STATUS_ZOMBIE:
                found[process.environ().get("RANK")] = process
    return found


def at_work_in(repo):
    """All processes in this repository: launcher, programs, and what trains in their place."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(repo) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
    return found


def test_a_kill_ends_all_and_the_same_command_goes_on(trained, start, stages, two, tmp_path):
    """Killed three times, each time another of its processes, one checkpoint further on."""
    command = "distill ted 1"
    whole, _ = trained(command, 2)
    repo = shutil.copytree(start, tmp_path / "repo")
    reached = 0
    for victim in ("1", "0", "launcher"):
        started = stages.start(repo, *command.split(), env=two)
        wait_for(lambda: micro.newest_checkpoint(repo) > reached)  # noqa: B023 (called at once)
        assert len(at_work_in(repo)) == 5
        pid = started[0] if victim == "launcher" else programs_of(repo)[victim].pid
        os.kill(pid, signal.SIGKILL)
        done = stages.wait(started)
        assert done.code == (-signal.SIGKILL if victim == "launcher" else 1)
        if victim != "launcher":
            assert f"process {victim} of 2 was ended by SIGKILL" in done.err and "Traceback" not in done.err
        wait_for(lambda: not at_work_in(repo), 10)
        assert not (repo / STAGES[command][0]).exists()
        assert ("resumes from it" in done.out) == (reached > 0)
        reached = micro.newest_checkpoint(repo)
    again = stages.run(repo, *command.split(), env=two)
    assert "resumes from it" in again.out
    assert json.loads((repo / "data/runs/distill-ted-1.json").read_text())["resumed_from"] >= reached
    for name in ("data/models/distill/ted/1/model.safetensors", "metrics/curves/ted-1.csv"):
        assert (repo / name).read_bytes() == (whole / name).read_bytes()
    assert not [*repo.glob(".scratch/*.lock")]
