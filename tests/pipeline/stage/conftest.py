"""The repository that tests of a stage run in."""

import json

import pytest

from pipeline.stage import paths
from tests.helpers.stages import IN_FILE


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A repository with one stage of one input, as cwd and as DVC_ROOT."""
    entry = {"cmd": "python -m pipeline dummy ${item}", "matrix": {"seconds": [0]}}
    (tmp_path / "dvc.yaml").write_text(
        json.dumps({"stages": {"distill": entry, "plain": {"cmd": "python -m pipeline x"}}})
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "in").write_text("1 2 3")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("DVC_STAGE", raising=False)
    monkeypatch.setattr(paths, "params", lambda: IN_FILE[-1])
    return tmp_path
