"""The coordinator's clone: what it holds, what a run is called, and that the workspace stays as it was."""

import pytest

from distill.errors import UserError
from distill.experiments import params_file
from pipeline.fan.desk import Desk
from tests.helpers import micro
from tests.pipeline.fan import stub

FILES = {"data.source": "files", "data.train": "data/raw/mine/train.json", "data.validation": "data/raw/mine/dev.json"}


@pytest.fixture
def workspace(tmp_path, python, monkeypatch):
    """A repository of stub stages whose data are files of the user's, of which Git knows nothing."""
    monkeypatch.setenv("PATH", micro.with_programs(python)["PATH"])
    monkeypatch.setenv("PYTHONPATH", "")
    repo = stub.repo(tmp_path / "repo", tmp_path)
    file = repo / "params.yaml"
    values = {tuple(name.split(".")): value for name, value in FILES.items()}
    file.write_text(params_file.replace(file.read_text(), values))
    for name in ("train", "dev"):
        path = repo / "data/raw/mine" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (repo / ".gitignore").write_text((repo / ".gitignore").read_text() + "/data/raw/mine/*.json\n")
    micro.run(repo, "dvc", "remote", "add", "-q", "-d", "store", str(tmp_path / "store"))
    return repo


def test_a_file_that_workers_would_lack_is_refused(workspace):
    with pytest.raises(UserError, match="params.yaml: data.train: data/raw/mine/train.json: neither Git nor DVC"):
        Desk(workspace, workspace / ".scratch/fan/desk")


def test_the_workspace_goes_along_as_it_is_and_stays_so(workspace):
    (workspace / ".gitignore").write_text((workspace / ".gitignore").read_text().replace("/data/raw/mine/*.json\n", ""))
    micro.run(workspace, "dvc", "add", "-q", "data/raw/mine/train.json", "data/raw/mine/dev.json")
    (workspace / "new_method.py").write_text("new")
    micro.run(workspace, "git", "add", "new_method.py")
    before = micro.run(workspace, "git", "status", "--porcelain").stdout
    desk = Desk(workspace, workspace / ".scratch/fan/desk")
    assert desk.data == ["data/raw/mine/train.json.dvc", "data/raw/mine/dev.json.dvc"]
    assert (desk.folder / "data/raw/mine/train.json").read_text() == "train"
    assert (desk.folder / "new_method.py").exists() and "new_method.py" in before
    assert micro.run(workspace, "git", "status", "--porcelain").stdout == before
    assert {"prepare", "distill@kd-1", "evaluate_teacher"} <= desk.missing()
    assert not {"inputs", "summarize", "data/raw/mine/train.json.dvc"} & desk.missing()
    # Results do not make it another run; parameters do.
    (workspace / "metrics").mkdir(exist_ok=True)
    (workspace / "metrics/note.json").write_text("{}")
    again = Desk(workspace, workspace / ".scratch/fan/desk")
    (workspace / "params.yaml").write_text((workspace / "params.yaml").read_text() + "# another\n")
    other = Desk(workspace, workspace / ".scratch/fan/desk")
    assert desk.run == again.run != other.run


def test_another_folder_than_the_root_is_refused(workspace):
    with pytest.raises(UserError, match="not the root of a Git repository"):
        Desk(workspace / "src", workspace / ".scratch/fan/desk")
