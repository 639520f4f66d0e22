"""A fan-out for real: two slots here, with a worker and a coordinator that are killed, against one machine."""

import contextlib
import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from distill.runtime.files import file_hash, files_below
from tests.helpers import micro

pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(1200)]  # test_stub_fan_out.py checks most of it

SETTINGS = {"methods": ["ft", "kd"], "seeds": [1, 2]}
ITEMS = [(method, str(seed)) for method in SETTINGS["methods"] for seed in SETTINGS["seeds"]]
COMMAND = ("python", "-m", "pipeline.commands.fan", "--slots", "2", "--chunk", "2", "--poll", "0.2")


@pytest.fixture(scope="module")
def plain(tmp_path_factory, stages) -> Path:
    """A workspace in which the stages have run one after the other."""
    repo = micro.repo(tmp_path_factory.mktemp("plain") / "repo", SETTINGS)
    students = [(script, *item) for script in ("distill", "evaluate") for item in ITEMS]
    stages.run_all(repo, [*micro.BASE, ("evaluate_teacher",), ("evaluate", "student"), *students])
    return repo


@pytest.fixture(scope="module")
def fanned(tmp_path_factory, python) -> SimpleNamespace:
    """A workspace whose stages a fan-out has run, although a worker and the coordinator were killed.

    `first` is what the killed coordinator has printed, `second` what one beside it did, `last` the one that went on.
    """
    folder = tmp_path_factory.mktemp("fanned")
    repo = micro.repo(folder / "repo", SETTINGS)
    code = f"{repo / 'src'}{os.pathsep}{repo}"
    env = micro.with_programs(python) | {"PYTHONPATH": code}
    without_remote = micro.run(repo, *COMMAND, env=env, check=False)
    micro.run(repo, "dvc", "remote", "add", "-d", "store", str(folder / "store"), env=env)  # not committed
    with (folder / "first").open("w") as output:
        coordinator = subprocess.Popen(
            COMMAND, cwd=repo, env=micro.environment(**env), stdout=output, stderr=subprocess.STDOUT
        )
        wait_for(lambda: running(repo, "pipeline", "finetune"), coordinator)
        second = micro.run(repo, *COMMAND, env=env, check=False)
        distill = wait_for(lambda: running(repo, "pipeline", "distill"), coordinator)
        distill[0].kill()
        wait_for(lambda: "lost" in (folder / "first").read_text(), coordinator)
        coordinator.kill()
        coordinator.wait()
    last = micro.run(repo, *COMMAND, env=env, check=False)
    again = micro.run(repo, *COMMAND, "--plan", env=env)
    return SimpleNamespace(
        repo=repo,
        store=folder / "store",
        env=env,
        without_remote=without_remote,
        first=(folder / "first").read_text(),
        second=second,
        last=last,
        again=again,
    )


def running(repo, *words):
    """Processes in clones below the repository whose command line has these words one after the other."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = process.cmdline()
            here = process.cwd().startswith(str(repo / ".scratch"))
            if here and any(tuple(line[at : at + len(words)]) == words for at in range(len(line))):
                found.append(process)
    return found


def wait_for(condition, coordinator):
    while not (found := condition()):
        assert coordinator.poll() is None, "the coordinator has ended"
        time.sleep(0.05)
    return found


def contents(repo, *folders):
    return {f"{folder}/{name}": file_hash(file) for folder in folders for name, file in files_below(repo / folder)}


def test_the_bytes_are_those_of_one_machine(fanned, plain):
    assert fanned.last.returncode == 0, fanned.last.stdout + fanned.last.stderr
    folders = ("data/models", "data/predictions", "data/signals", "data/prepared", "data/teacher", "metrics/runs")
    one, many = contents(plain, *folders), contents(fanned.repo, *folders)
    assert len([name for name in one if name.startswith("data/models/distill/")]) >= 4 * 3
    assert many == one
    curves = contents(plain, "metrics/curves")
    assert contents(fanned.repo, "metrics/curves").items() >= curves.items() and len(curves) >= 4
    assert (fanned.repo / "metrics/summary.json").exists()


def test_a_killed_worker_is_retried_and_a_killed_coordinator_goes_on(fanned):
    assert "base-" in fanned.first and ": lost after" in fanned.first
    assert "base-" not in submitted(fanned.last.stdout)
    assert sum(": done" in line for line in fanned.last.stdout.splitlines()) >= 1
    assert "is cached - skipping run" in fanned.last.stdout
    ran = [line for line in fanned.last.stdout.splitlines() if line.startswith("Running stage")]
    assert ran == [f"Running stage '{name}':" for name in ("inputs", "cost", "summarize")]


def submitted(text):
    return "\n".join(line for line in text.splitlines() if ": submitted," in line)


def test_a_second_coordinator_is_refused_in_one_line(fanned):
    assert fanned.second.returncode == 2 and not fanned.second.stdout
    assert fanned.second.stderr.count("\n") == 1 and "is being run by process" in fanned.second.stderr


def test_without_a_remote_nothing_begins(fanned):
    assert fanned.without_remote.returncode == 2
    assert (
        "error: no DVC remote" in fanned.without_remote.stderr and "dvc remote add -d" in fanned.without_remote.stderr
    )


def test_what_is_done_is_not_planned_again_and_leaves_nothing_behind(fanned):
    assert "0 jobs on 2 slots" in fanned.again.stdout
    assert not list((fanned.store / "fan").glob("*/*"))
    assert not list(fanned.repo.glob(".scratch/fan/*/nodes/*/.git"))
    # The workspace's branch knows of nothing: only results and the remote have changed.
    assert micro.run(fanned.repo, "git", "log", "--oneline").stdout.count("\n") == 1
