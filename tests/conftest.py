"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest

# Before anything imports torch: its threads would fight over the cores with the other test processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


# These files share a project that takes a minute to make.
TOGETHER = ("test_reruns", "test_tracking_modes")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of a file, and those of the files above, run in one of `make test`'s processes (`--dist loadgroup`)."""
    for item in items:
        name = TOGETHER[0] if item.path.stem in TOGETHER else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(name))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the repository: real data, weights and golden values, where they are at hand."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs ../shared (real data and golden values), which is not here")
    return folder
