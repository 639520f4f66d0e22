"""A micro pipeline that is run once; tests copy it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import forked, micro
from tests.helpers.project import Project, Ran


@pytest.fixture(scope="session")
def stages(tmp_path_factory) -> Iterator[forked.Server]:
    """Runs stages in processes that start at once."""
    with forked.Server(tmp_path_factory.mktemp("stages")) as server:
        yield server


@pytest.fixture(scope="session")
def base(tmp_path_factory, stages) -> Path:
    """A micro repository with everything that distillation needs; not to be changed."""
    folder = micro.repo(tmp_path_factory.mktemp("base") / "repo")
    stages.run_all(folder, micro.BASE)
    return folder


@pytest.fixture
def repo(base, tmp_path) -> Path:
    """A copy of `base`."""
    return shutil.copytree(base, tmp_path / "repo")


@pytest.fixture(scope="session")
def two(python) -> dict[str, str]:
    """Settings of two processes that have the libraries imported already: torchrun starts this `python`."""
    return {"DISTILL_PROCESSES": "2", "PYTHON_EXEC": str(python / "python")}


@pytest.fixture(scope="session")
def project(tmp_path_factory, python) -> Project:
    """A project that `dvc repro` has run and Git has committed; whoever changes it restores it."""
    return Project(tmp_path_factory.mktemp("project"), python)


@pytest.fixture(scope="session")
def raised(project) -> Ran:
    """An experiment in the workspace, and the way back: `dvc repro` with the first value again."""
    ran = project.workspace("raised", "ted.mse_alpha=100")
    (project.repo / "params.yaml").write_text(project.show(project.first, "params.yaml"))
    ran.undone = project.dvc("repro").stdout
    project.restore()
    return ran


@pytest.fixture(scope="session")
def cooler(project) -> Ran:
    """An experiment in a temporary copy."""
    return project.temp("cooler", "kd.temperature=4")


@pytest.fixture(scope="session")
def twice(project) -> Ran:
    """An experiment from the queue."""
    return project.queue("twice", "seeds=[1,2]")
