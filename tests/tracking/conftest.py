"""What tests of tracking share: nothing of the person who runs them, and an empty database."""

import os
from pathlib import Path

import pytest

from distill.tracking import store


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """No setting of the person who runs the tests reaches them, nor one of theirs the next test."""
    for name in [name for name in os.environ if name.startswith(("DVC_", "MLFLOW_", "DISTILL_", "RANK"))]:
        monkeypatch.delenv(name)
    for name, value in store.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def database(tmp_path_factory) -> Path:
    """An empty database: initialising one takes longer than most tests here."""
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def client(root):
    """Looks into the database of `root`."""
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{root}/mlflow.db")
