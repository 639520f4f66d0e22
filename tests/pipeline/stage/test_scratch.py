"""The folder of an interrupted stage: by which name it is found again, and when it goes."""

import importlib.metadata
from pathlib import Path

import pytest

from pipeline.stage.definition import Definition
from pipeline.stage.scratch import fingerprint, remove_leftovers
from pipeline.stage.snapshot import Snapshot

DEPS = (Path("data/in"), Path("src/code"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    for name, text in {"data/in": "1 2 3", "src/code/a.py": "a = 1", "src/other/b.py": "b = 1"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mark(name="distill@ted-1", rate=0.1, deps=DEPS):
    return fingerprint(Definition(name, ("tuning",), deps), {"tuning": {"rate": rate}}, Snapshot(deps).contents)


def test_it_follows_all_that_the_entry_declares(here, monkeypatch):
    first = mark()
    assert mark() == first
    assert first not in {mark(rate=0.2), mark("distill@ted-2"), mark(deps=DEPS[:1])}
    for name in ("data/in", "src/code/a.py"):
        before = (here / name).read_text()
        (here / name).write_text("edited")
        assert mark() != first
        (here / name).write_text(before)
        assert mark() == first
    monkeypatch.setattr(importlib.metadata, "version", lambda library: "0")
    assert mark() != first


def test_it_does_not_follow_what_the_entry_does_not_declare(here):
    first = mark()
    (here / "src/other/b.py").write_text("b = 2")
    import json.tool  # noqa: F401 (which modules happen to be loaded is of no account)

    (here / "src/code/__pycache__").mkdir()
    (here / "src/code/__pycache__/a.pyc").write_bytes(b"x")
    assert mark() == first


def test_leftover_locks_of_ended_copies_go_too(here):
    folder = here / ".scratch"
    (folder / "evaluate-kd-1-0123456789abcdef").mkdir(parents=True)
    for name in ("evaluate-ted-1.aa.lock", "evaluate-ted-1.aa.lock.holder", "evaluate-kd-1-0123456789abcdef.lock"):
        (folder / name).write_text("")
    remove_leftovers(folder, "evaluate@ted-1")
    assert sorted(path.name for path in folder.iterdir()) == [
        "evaluate-kd-1-0123456789abcdef",
        "evaluate-kd-1-0123456789abcdef.lock",
    ]
