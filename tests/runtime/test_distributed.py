"""One process by itself: what several tell one another is its own word. Two are in test_two_processes.py."""

import os
import subprocess
import sys

import pytest

from distill.errors import UserError
from distill.runtime import distributed
from tests.helpers.micro import ROOT


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_launcher_there_is_one_process():
    distributed.join()
    assert (distributed.launched(), distributed.count(), distributed.rank(), distributed.is_first()) == (
        (0, 1),
        1,
        0,
        True,
    )
    distributed.wait()
    distributed.leave()
    assert distributed.from_first(lambda: {"a": 1}) == {"a": 1}
    assert distributed.mean([1.0, 2.5]) == [1.0, 2.5]


def test_an_error_of_the_first_process_is_raised():
    with pytest.raises(UserError, match="no"):
        distributed.from_first(lambda: (_ for _ in ()).throw(UserError("no")))


def test_a_launcher_says_which_process_this_is(monkeypatch):
    for name, value in {"RANK": "3", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert distributed.launched() == (0, 1)  # of something else: every launcher of torch sets LOCAL_RANK too
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert distributed.launched() == (3, 4)
    assert distributed.count() == 1  # until it has met the others
    distributed.forget()
    assert distributed.launched() == (0, 1)


@pytest.mark.parametrize(
    ("rank", "size", "local"), [("a", "2", "0"), ("0", "²", "0"), ("2", "2", "0"), ("-1", "2", "0"), ("0", "0", "0")]
)
def test_a_process_that_no_launcher_starts_is_refused_once(monkeypatch, rank, size, local):
    for name, value in {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": local}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"RANK='{rank}', WORLD_SIZE='{size}', LOCAL_RANK='{local}'.*unset them"):
        distributed.launched()
    assert distributed.launched() == (0, 1)  # for the end of the stage, which asks again


def test_a_number_of_processes_on_this_machine_that_is_none_is_refused(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "two"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="LOCAL_WORLD_SIZE='two'"):
        distributed.launched()


def test_more_processes_than_gpus_are_refused_before_they_meet(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in {"RANK": "2", "WORLD_SIZE": "3", "LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="DISTILL_PROCESSES: 3 processes, but this machine has 2 GPUs"):
        distributed.join()
    assert distributed.count() == 1


def test_the_batch_is_dealt_evenly_or_refused(monkeypatch):
    assert distributed.share_of(32, 4) == 8
    monkeypatch.setattr(distributed, "count", lambda: 3)
    assert distributed.share_of(36, 4) == 3
    with pytest.raises(UserError) as error:
        distributed.share_of(32, 2)
    for part in ("batch_size", "32", "3 processes", "gradient_accumulation 2", "multiple of 6", "DISTILL_PROCESSES"):
        assert part in str(error.value)


def test_one_process_imports_neither_torch_nor_accelerate():
    code = """
import sys
from distill.runtime import distributed
distributed.join(), distributed.wait(), distributed.from_first(int), distributed.mean([1.0]), distributed.leave()
sys.exit(bool({'torch', 'accelerate'} & set(sys.modules)))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
