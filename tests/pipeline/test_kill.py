"""`kill -9` anywhere: the same command goes on, and ends with the same bytes as if nothing had happened."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.helpers import micro

pytestmark = pytest.mark.slow

# Thirty updates or so in several epochs, with a checkpoint after every second; the settings differ as much as they can.
LONG = {"max_steps": None, "log_every": 2}
DROPOUT = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}


def settings(section, **values):
    return {f"{section}.{name}": value for name, value in (LONG | values).items()}


TEACHER = settings(
    "teacher", epochs=3, batch_size=24, gradient_accumulation=2, keep="best", evaluations=5, learning_rate=0.003
) | {f"teacher.model.config.{name}": value for name, value in DROPOUT.items()}
STUDENT = settings(
    "student",
    epochs=2.5,
    batch_size=16,
    precision="bf16",
    group_by_length=False,
    lr_scheduler="cosine",
    weight_decay=0.1,
) | {"student.init": "teacher_layers", "student.layers": [2]}
TEACHER_FILTERS = settings(
    "teacher_filters", epochs=2, batch_size=16, keep="best", evaluations=4, nonlinear=True, backbone_dropout=True
)
STUDENT_FILTERS = settings("student_filters", epochs=1.5, batch_size=12, group_by_length=False, keep="last")
DISTILL = settings("distill", epochs=2, batch_size=16, gradient_accumulation=2, evaluations=3, keep="best")
PLAIN = settings("distill", epochs=2, batch_size=16, precision="bf16", group_by_length=False)
GROWING = {"value": 100, "schedule": "cosine_growth", "warmup": 0.1}

# stage and words -> parameters, what it makes
TRAININGS = {
    "finetune teacher": (
        TEACHER,
        ["data/models/teacher", "metrics/curves/teacher.csv", "metrics/selection/teacher.json"],
    ),
    "finetune student": (
        STUDENT,
        ["data/models/student", "metrics/curves/student.csv", "metrics/selection/student.json"],
    ),
    "train_filters teacher": (
        TEACHER_FILTERS,
        ["data/models/filters/teacher", "metrics/curves/filters-teacher.csv", "metrics/filters/teacher.json"],
    ),
    "train_filters student": (
        STUDENT_FILTERS,
        ["data/models/filters/student", "metrics/curves/filters-student.csv", "metrics/filters/student.json"],
    ),
    "distill ted 1": (DISTILL | {"ted.mse_alpha": GROWING}, ["data/models/distill/ted/1", "metrics/curves/ted-1.csv"]),
    "distill lwd 1": (PLAIN, ["data/models/distill/lwd/1", "metrics/curves/lwd-1.csv"]),
    "distill kd 2": (DISTILL, ["data/models/distill/kd/2", "metrics/curves/kd-2.csv"]),
}
OTHERS = {
    "corpus": ({}, ["data/raw/atlas"]),
    "prepare": ({}, ["data/prepared"]),
    "predict": ({"predict.batch_size": 8}, ["data/teacher", "data/states", "data/filter_states"]),
    "signals": ({}, ["data/signals"]),
    "evaluate student": ({}, ["metrics/runs/student.json", "data/predictions"]),
}


# Killed in many places: a training and a stage without one; the others in fewer.
OFTEN = ("finetune teacher", "predict")


@pytest.fixture(scope="module")
def whole(base, stages, tmp_path_factory):
    """Gives (parameters, bytes that the stage makes when nothing happens to it)."""
    known = {}

    def of(command):
        if command not in known:
            folder = shutil.copytree(base, tmp_path_factory.mktemp("whole") / "repo")
            known[command] = run_whole(folder, stages, command)
        return known[command]

    return of


def run_whole(repo, stages, command):
    set_up(repo, command)
    done = stages.run(repo, *command.split())
    return content(repo, command), done.operations


def set_up(repo, command):
    """Parameters of the command, and none of its results."""
    overrides, made = (TRAININGS | OTHERS)[command]
    (repo / "params.yaml").write_text(micro.params(overrides))
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


@pytest.mark.parametrize("command", [*TRAININGS, *OTHERS])
def test_killed_again_and_again_it_ends_with_the_same_bytes(repo, stages, whole, command):
    """Every life of the stage ends before its n-th file operation; n grows, for some from a quarter of the whole on."""
    expected, operations = whole(command)
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


@pytest.mark.parametrize("command", ["finetune teacher", "train_filters teacher", "distill ted 1", "distill kd 2"])
def test_run_twice_gives_the_same_bytes(repo, stages, whole, command):
    assert run_whole(repo, stages, command)[0] == whole(command)[0]


@pytest.mark.parametrize("command", ["finetune teacher", "predict"])
def test_killed_before_each_step_of_handing_over(repo, stages, whole, command):
    """Training is done; the process ends before the first file operation outside the scratch, the second, and so on."""
    expected, _ = whole(command)
    set_up(repo, command)
    overrides = TRAININGS.get(command, ({},))[0] | {"runtime.checkpoint_steps": 12}  # and less to remove at the end
    (repo / "params.yaml").write_text(micro.params(overrides))
    for step in (*range(1, 12), *range(12, 200, 6)):  # outputs first, then the scratch's many files
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


DAMAGES = {
    "finetune teacher": truncate,
    "finetune student": forget_state,
    "train_filters teacher": tear_optimizer,
    "distill ted 1": tear_manifest,
    "distill lwd 1": flip_a_bit,
}


@pytest.mark.parametrize("command", DAMAGES)
def test_a_checkpoint_cut_off_half_way_is_not_used(repo, stages, whole, command):
    expected, _ = whole(command)
    set_up(repo, command)
    killed = stages.kill_when(repo, *command.split(), condition=lambda: micro.newest_checkpoint(repo) >= 10)
    assert killed.code == -signal.SIGKILL
    last = micro.newest_checkpoint(repo)
    (folder,) = repo.glob(f".scratch/*/checkpoints/checkpoint-{last}")
    DAMAGES[command](folder)
    shutil.rmtree(repo / "data" / "runs")
    done = stages.run(repo, *command.split())
    assert f"checkpoint-{last} cannot be used" in done.out
    assert f"going on from checkpoint-{last - 2}" in done.out
    assert record(repo)["resumed_from"] == last - 2
    assert content(repo, command) == expected
    assert_clean(repo)


@pytest.mark.parametrize("lost", ["gone", "torn"])
def test_lost_best_weights_are_trained_again(repo, stages, whole, lost):
    """`keep: best`: the weights of the best evaluation lie beside the checkpoints, and are needed at the end."""
    command = "finetune teacher"
    expected, _ = whole(command)
    set_up(repo, command)
    stages.kill_when(repo, *command.split(), condition=lambda: micro.newest_checkpoint(repo) >= 10)
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
    expected, _ = whole(command)
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
    expected, _ = whole("predict")
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


def test_dvc_and_its_stage_killed_one_after_the_other_and_together(repo, stages, whole, python):
    """Real `dvc repro`: kill the stage, then dvc alone, then both; the fourth run ends as if nothing had happened."""
    command = "distill ted 1"
    expected, _ = whole(command)
    set_up(repo, command)
    words = ["dvc", "repro", "--single-item", "distill@ted-1"]
    log = (repo.parent / "log").open("w")
    reached = 0
    for victims in ("stage", "dvc", "both"):
        started = subprocess.Popen(words, cwd=repo, env=micro.environment(), stdout=log, stderr=log)
        # The search takes its time, on a busy machine more than the rest of the training: it comes before the wait.
        wait_for(lambda: stage_of(started) or started.poll() is not None)  # noqa: B023 (called at once)
        stage = stage_of(started)
        wait_for(lambda: micro.newest_checkpoint(repo) >= reached + 4 or started.poll() is not None)  # noqa: B023
        assert started.poll() is None, Path(log.name).read_text()
        if victims != "stage":
            started.kill()
        if victims != "dvc":
            stage.kill()
        reached = micro.newest_checkpoint(repo)
        assert started.wait(30) != 0
    log.close()
    micro.run(repo, "python", "-m", "pipeline.launch.run")  # as `make repro` does
    warm = {"PATH": f"{python}{os.pathsep}{micro.environment()['PATH']}"}  # nothing is killed any more
    done = micro.run(repo, *words, env=warm)
    assert workers(repo) == []
    assert "resumes from it" in done.stdout
    assert record_of(repo, "distill-ted-1")["resumed_from"] >= reached
    assert content(repo, command) == expected
    assert_clean(repo)
    assert "didn't change" in micro.run(repo, *words, env=warm).stdout


def stage_of(dvc):
    """The process of the stage that a `dvc` runs; None while there is none."""
    try:
        children = psutil.Process(dvc.pid).children(recursive=True)
        return next((child for child in children if {"pipeline", "distill"} <= set(child.cmdline())), None)
    except psutil.Error:
        return None


def record_of(repo, name):
    return json.loads((repo / "data" / "runs" / f"{name}.json").read_text())


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.002)
