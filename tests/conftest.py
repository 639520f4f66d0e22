"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest

# Before anything imports torch: its threads would fight over the cores with the other test processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


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
