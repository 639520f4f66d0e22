"""`kill -9` anywhere: the same command goes on, and ends with the same bytes as if nothing had happened."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from distill.runtime import checkpoints
from tests.helpers import forked, micro
from tests.helpers.killed import OTHERS, TRAININGS

pytestmark = pytest.mark.slow

# Killed in many places: a training and a stage without one; the others in fewer.
OFTEN = ("finetune teacher", "predict")
# A stage for each way through the code: a model's training, which keeps its best weights; that of filters, which keep
# their last; a student's with its method; predictions, which a stage writes part by part; and a stage that begins anew.
# Together they have each precision, order of the rows and way to keep weights. The others share this code.
PATHS = ("finetune teacher", "train_filters student", "distill ted 1", "predict", "evaluate student")


def commands(of, paths=PATHS):
    """Parameters: those that are no path of their own are exhaustive."""
    return [pytest.param(each, marks=[] if each in paths else pytest.mark.exhaustive) for each in of]


class Whole(NamedTuple):
    """A stage to which nothing happens: the bytes that it makes, its file operations, copies of its scratch."""

    content: dict[str, bytes]
    operations: int
    photos: Path


@pytest.fixture(scope="module")
def whole(base, stages, tmp_path_factory):
    """Gives the `Whole` of a command."""
    known = {}

    def of(command):
        if command not in known:
            folder = tmp_path_factory.mktemp("whole")
            known[command] = run_whole(shutil.copytree(base, folder / "repo"), stages, command, folder / "photos")
        return known[command]

    return of


def run_whole(repo, stages, command, photos=None, more=None):
    set_up(repo, command, more)
    done = stages.run(repo, *command.split(), photos=photos)
    return Whole(content(repo, command), done.operations, photos)


def as_killed_after(update, command, repo, whole):
    """Put a repository in the state of a `kill -9` after a checkpoint; the number of the newest one of two."""
    set_up(repo, command)
    photos = whole(command).photos
    for operation in sorted(int(path.name) for path in photos.iterdir()):
        folders = photos.glob(f"{operation}/*/checkpoints/checkpoint-*")
        complete = sorted(int(path.name.split("-")[1]) for path in folders if checkpoints.is_complete(path))
        if len(complete) == 2 and complete[-1] >= update:
            forked.as_killed_at(operation, photos, repo)
            return complete[-1]
    raise AssertionError(f"no photo of {command} has a checkpoint of update {update} and the one before")


def set_up(repo, command, more=None):
    """Parameters of the command, with `more` of them, and none of its results."""
    overrides, made = (TRAININGS | OTHERS)[command]
    (repo / "params.yaml").write_text(micro.params(overrides | (more or {})))
    for name in made:
        path = repo / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def content(repo, command):
    """Relative name -> bytes of all that the command makes."""
    files = {}
    for name in (TRAININGS | OTHERS)[command][1]:
        path = repo / name
        found = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
        files |= {file.relative_to(repo).as_posix(): file.read_bytes() for file in found}
    return files


def assert_clean(repo):
    """No scratch, no draft, no lock, and no process at work in the repository."""
    assert not (repo / ".scratch").exists()
    left = [
        path for part in ("data", "metrics") for path in (repo / part).rglob(".*") if not path.name.startswith(".git")
    ]
    left += [path for path in (repo / "data").rglob("*") if "checkpoint-" in path.name or path.suffix == ".lock"]
    assert left == []
    assert workers(repo) == []


def workers(repo):
    """Processes whose cwd lies in the repository."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(repo):
                found.append(process)
        except psutil.Error:
            continue
    return found


def record(repo):
    return json.loads(next((repo / "data" / "runs").glob("*.json")).read_text())


@pytest.mark.parametrize("command", commands([*TRAININGS, *OTHERS]))
def test_killed_again_and_again_it_ends_with_the_same_bytes(repo, stages, whole, command):
    """Every life of the stage ends before its n-th file operation; n grows, for some from a quarter of the whole on."""
    expected, operations, _ = whole(command)
    first, least = (4, 3) if command in OFTEN else (7, 1)
    set_up(repo, command)
    shutil.rmtree(repo / "data" / "runs")
    lives = 0
    while (done := stages.run(repo, *command.split(), kill_at=operations * (first + lives) // 16, check=False)).code:
        assert done.code == -signal.SIGKILL, done.err
        lives += 1
    assert lives >= least
    assert content(repo, command) == expected
    assert_clean(repo)
    if command in TRAININGS:
        assert record(repo)["resumed"]
        assert record(repo)["resumed_from"] >= 10


# The stages that are killed end with the bytes of another run, too: what a kill takes no part in, one of them shows.
@pytest.mark.parametrize(
    "command",
    commands(["finetune teacher", "train_filters teacher", "distill ted 1", "distill kd 2"], ["distill ted 1"]),
)
def test_run_twice_gives_the_same_bytes(repo, stages, whole, command):
    assert run_whole(repo, stages, command).content == whole(command).content


STEPS = (*range(1, 12), *range(12, 200, 6))  # outputs first, then the scratch's many files
# All stages hand over by the same code: of a training, `make test` asks at some steps whether it knows that it is done.
HANDING_OVER = [
    ("predict", STEPS),
    ("train_filters teacher", range(1, 200, 6)),
    pytest.param("finetune teacher", STEPS, marks=pytest.mark.exhaustive),
]


@pytest.mark.parametrize(("command", "steps"), HANDING_OVER)
def test_killed_before_each_step_of_handing_over(repo, stages, whole, command, steps):
    """The work is done; the process ends before the first file operation outside the scratch, the second, and so on."""
    expected = whole(command).content
    set_up(repo, command)
    overrides = (TRAININGS | OTHERS)[command][0] | {"runtime.checkpoint_steps": 12}  # and less to remove at the end
    (repo / "params.yaml").write_text(micro.params(overrides))
    for step in steps:
        done = stages.run(repo, *command.split(), kill_at=step, outside=f"{repo}/.scratch", check=False)
        if done.code == 0:
            break
        assert done.code == -signal.SIGKILL, done.err
    assert step > 5
    assert content(repo, command) == expected
    assert_clean(repo)


def truncate(checkpoint):
    os.truncate(checkpoint / "model.safetensors", 1000)


def forget_state(checkpoint):
    (checkpoint / "trainer_state.json").unlink()


def tear_optimizer(checkpoint):
    os.truncate(checkpoint / "optimizer.pt", (checkpoint / "optimizer.pt").stat().st_size // 2)


def tear_manifest(checkpoint):
    (checkpoint / "complete.json").write_text('{"files": {"model.saf')


def flip_a_bit(checkpoint):
    path = checkpoint / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


# Each damage, and each training that is a path of its own, in `make test`.
DAMAGES = [
    ("finetune teacher", truncate),
    ("train_filters student", forget_state),
    ("train_filters student", tear_optimizer),
    ("distill ted 1", tear_manifest),
    ("distill ted 1", flip_a_bit),
    *(
        pytest.param(command, damage, marks=pytest.mark.exhaustive)
        for command, damage in (
            ("finetune student", forget_state),
            ("train_filters teacher", tear_optimizer),
            ("distill lwd 1", flip_a_bit),
        )
    ),
]


@pytest.mark.parametrize(("command", "damage"), DAMAGES)
def test_a_checkpoint_cut_off_half_way_is_not_used(repo, stages, whole, command, damage):
    expected = whole(command).content
    last = as_killed_after(10, command, repo, whole)
    (folder,) = repo.glob(f".scratch/*/checkpoints/checkpoint-{last}")
    damage(folder)
    shutil.rmtree(repo / "data" / "runs")
    done = stages.run(repo, *command.split())
    assert f"checkpoint-{last} cannot be used" in done.out
    assert f"going on from checkpoint-{last - 2}" in done.out
    assert record(repo)["resumed_from"] == last - 2
    assert content(repo, command) == expected
    assert_clean(repo)


# The second best weights are the best of all: later ones have the same score.
KILLED_IN_ITS_SEAL = """
import os, signal
replace, sealed = os.replace, []
def dies(source, target):
    if "best.draft" in os.fspath(target):
        sealed.append(target)
        if len(sealed) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = dies
"""


def test_the_best_weights_stay_the_best_after_a_kill_while_they_are_sealed(repo, stages, whole):
    """What the killed process leaves is no part of what the next one seals in the same place."""
    command = "finetune teacher"
    expected = whole(command).content
    set_up(repo, command)
    done = stages.run(repo, *command.split(), setup=KILLED_IN_ITS_SEAL, check=False)
    assert done.code == -signal.SIGKILL
    assert len(list(repo.glob(".scratch/*/best.draft/.complete.json.new"))) == 1
    stages.run(repo, *command.split())
    assert content(repo, command) == expected
    assert_clean(repo)


@pytest.mark.parametrize("lost", ["gone", "torn"])
def test_lost_best_weights_are_trained_again(repo, stages, whole, lost):
    """`keep: best`: the weights of the best evaluation lie beside the checkpoints, and are needed at the end."""
    command = "finetune teacher"
    expected = whole(command).content
    as_killed_after(10, command, repo, whole)
    (best,) = repo.glob(".scratch/*/best")
    if lost == "gone":
        shutil.rmtree(best)
    else:
        os.truncate(best / "weights.safetensors", 1000)
    done = stages.run(repo, *command.split())
    assert "starting from the beginning" in done.out
    assert content(repo, command) == expected
    assert_clean(repo)


def test_predictions_go_on_from_the_last_mark(repo, stages, whole):
    """A clock that runs fast makes the stage mark its place at every batch."""
    command = "predict"
    expected = whole(command).content
    set_up(repo, command)
    fast = """
import itertools, os, signal
from distill.signals import writer as predict
clock = itertools.count(step=11)
predict.time = type("Clock", (), {"monotonic": lambda: next(clock)})
first = predict.Writer.write
def write(self, rows, values):
    if self.done == 0 and self.written == 12:
        os.kill(os.getpid(), signal.SIGKILL)
    self.written += 1
    if "logits" in self.arrays:
        print("batch of", rows[0], flush=True)
    first(self, rows, values)
predict.Writer.write, predict.Writer.written = write, 0
"""
    killed = stages.run(repo, command, setup=fast, check=False)
    assert killed.code == -signal.SIGKILL
    (logits,) = repo.glob(".scratch/*/logits")
    assert json.loads((logits / "done-0.json").read_text()) == {"batches": 12, "parts": 1}
    done = stages.run(repo, command, setup=fast)
    began = [re.findall(r"batch of (\d+)", run.out) for run in (killed, done)]
    assert len(began[0]) == 12 and not set(began[0]) & set(began[1])
    assert content(repo, command) == expected
    assert_clean(repo)


@pytest.mark.parametrize("damage", ["logits", "mark"])
def test_damaged_predictions_are_computed_again(repo, stages, whole, damage):
    expected = whole("predict").content
    set_up(repo, "predict")
    killed = stages.run(repo, "predict", kill_at=15, check=False)
    assert killed.code == -signal.SIGKILL
    (scratch,) = (path for path in (repo / ".scratch").iterdir() if path.is_dir())
    folder = scratch / "logits"
    (folder / "logits").mkdir(parents=True, exist_ok=True)
    (folder / "done-0.json").write_text('{"batches": 3, "parts": 1}' if damage == "logits" else '{"bat')
    shutil.copyfile(repo / "params.yaml", folder / "logits" / "00000.npy")
    stages.run(repo, "predict")
    assert content(repo, "predict") == expected
    assert_clean(repo)


@pytest.mark.integration
def test_dvc_and_its_stage_killed_one_after_the_other_and_together(base, repo, stages, tmp_path, python):
    """Real `dvc repro`: kill the stage, then dvc alone, then both; the fourth run ends as if nothing had happened."""
    command, long = "distill ted 1", {"distill.epochs": 8}  # it must not end while this process waits for a core
    expected = run_whole(shutil.copytree(base, tmp_path / "whole"), stages, command, more=long).content
    set_up(repo, command, long)
    words = ["dvc", "repro", "--single-item", "distill@ted-1"]
    warm = micro.with_programs(python)
    log = (repo.parent / "log").open("w")
    reached = 0
    for victims in ("stage", "dvc", "both"):
        started = subprocess.Popen(words, cwd=repo, env=micro.environment(**warm), stdout=log, stderr=log)
        # The search takes its time, on a busy machine more than the rest of the training: it comes before the wait.
        wait_for(lambda: stage_in(repo) or started.poll() is not None)  # noqa: B023 (called at once)
        stage = stage_in(repo)
        wait_for(lambda: micro.newest_checkpoint(repo) >= reached + 4 or started.poll() is not None)  # noqa: B023
        assert started.poll() is None, Path(log.name).read_text()
        if victims != "stage":
            started.kill()
        if victims != "dvc":
            with contextlib.suppress(psutil.NoSuchProcess) if victims == "both" else contextlib.nullcontext():
                stage.kill()  # without its DVC it may have ended before
        reached = micro.newest_checkpoint(repo)
        assert started.wait(30) != 0
    log.close()
    micro.run(repo, "python", "-m", "pipeline.launch.run")  # as `make repro` does
    done = micro.run(repo, *words, env=warm)
    assert workers(repo) == []
    assert "resumes from it" in done.stdout
    assert record_of(repo, "distill-ted-1")["resumed_from"] >= reached
    assert content(repo, command) == expected
    assert_clean(repo)
    assert "didn't change" in micro.run(repo, *words, env=warm).stdout


def stage_in(repo):
    """The program whose death is the stage's (tests/helpers/warm.py); None while no stage runs in a repository."""
    for process in workers(repo):
        with contextlib.suppress(psutil.NoSuchProcess):
            if {"pipeline", "distill"} <= set(process.cmdline()):
                return process
    return None


def record_of(repo, name):
    return json.loads((repo / "data" / "runs" / f"{name}.json").read_text())


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.002)
