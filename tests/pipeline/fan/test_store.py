"""The remote from the workers' side: full, read-only, and what jobs hand in."""

import errno

import pytest
from dvc.repo import Repo

from distill.errors import UserError
from pipeline.fan.desk import configure
from pipeline.fan.store import Store, local_config
from tests.helpers import micro


@pytest.fixture
def store(tmp_path):
    micro.run(tmp_path, "git", "init", "-q")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    remote = s\n['remote \"s\"']\n    url = ../../store\n")
    (tmp_path / ".dvc" / "config.local").write_text("['remote \"s\"']\n    jobs = 3\n")
    with Repo(str(tmp_path)) as repo:
        yield Store(repo, "run")


@pytest.mark.parametrize(
    ("name", "code", "told"),
    [("pipe_file", errno.ENOSPC, "No space left on device"), ("makedirs", errno.EROFS, "Read-only file system")],
)
def test_a_full_or_read_only_remote_is_one_line_before_any_work(store, monkeypatch, name, code, told):
    with monkeypatch.context() as patch:
        patch.setattr(store._fs, name, lambda *args, **more: (_ for _ in ()).throw(OSError(code, told)))
        for write in (lambda: store.check_writable("job"), lambda: store.write("job", {})):
            with pytest.raises(UserError, match=f"DVC remote s .*cannot be written .*{told}.*: mend it and run"):
                write()
    store.check_writable("job")
    assert store.results(()) == {}


def test_results_are_read_once_and_half_written_ones_later(store):
    store.write("base", {"entries": {"prepare": {}}})
    assert store.results(()) == {"base": {"entries": {"prepare": {}}}}
    assert store.results({"base": 1}) == {}
    path = store._fs.join(store._folder, "students.json")
    store._fs.pipe_file(path, b'{"entries": ')
    assert store.results({"base": 1}) == {}
    store._fs.pipe_file(path, b'{"entries": {}}')
    assert store.results({"base": 1}) == {"students": {"entries": {}}}
    store.forget()
    assert store.results(()) == {}


def test_clones_elsewhere_get_the_local_settings_and_an_address_that_holds_there(store, tmp_path):
    clone = tmp_path / "far" / "away"
    micro.run(tmp_path, "git", "init", "-q", str(clone))
    (clone / ".dvc").mkdir()
    (clone / ".dvc" / "config").write_text((tmp_path / ".dvc" / "config").read_text())
    configure(clone, local_config(store._repo), tmp_path / "cache")
    with Repo(str(clone)) as repo:
        assert repo.config["core"]["remote"] == "s" and repo.config["remote"]["s"]["jobs"] == 3
        assert repo.config["remote"]["s"]["url"] == str(tmp_path.parent / "store")
        assert repo.cache.local_cache_dir == str(tmp_path / "cache")
    assert (clone / ".dvc" / "config.local").stat().st_mode & 0o077 == 0
