"""One process by itself: what several tell one another is its own word. Two are in tests/pipeline/test_processes.py."""

import sys

import pytest

from distill import processes
from distill.errors import UserError


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_launcher_there_is_one_process():
    processes.join()
    assert (processes.launched(), processes.count(), processes.rank(), processes.is_first()) == ((0, 1), 1, 0, True)
    processes.wait()
    processes.leave()
    assert processes.from_first(lambda: {"a": 1}) == {"a": 1}
    assert processes.mean([1.0, 2.5]) == [1.0, 2.5]


def test_an_error_of_the_first_process_is_raised():
    with pytest.raises(UserError, match="no"):
        processes.from_first(lambda: (_ for _ in ()).throw(UserError("no")))


def test_a_launcher_says_which_process_this_is(monkeypatch):
    for name, value in {"RANK": "3", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert processes.launched() == (0, 1)  # of something else: every launcher of torch sets LOCAL_RANK too
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert processes.launched() == (3, 4)
    assert processes.count() == 1  # until it has met the others
    processes.forget()
    assert processes.launched() == (0, 1)


def test_the_batch_is_dealt_evenly_or_refused(monkeypatch):
    assert processes.share_of(32, 4) == 8
    monkeypatch.setattr(processes, "count", lambda: 3)
    assert processes.share_of(36, 4) == 3
    with pytest.raises(UserError) as error:
        processes.share_of(32, 2)
    for part in ("batch_size", "32", "3 processes", "gradient_accumulation 2", "multiple of 6", "DISTILL_PROCESSES"):
        assert part in str(error.value)


def test_importing_it_loads_no_torch():
    import subprocess

    code = "import sys, distill.processes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
