"""Git, where its failure is no error."""

import pytest

from pipeline.process import git
from tests.helpers import micro


@pytest.fixture
def repo(tmp_path):
    (tmp_path / "text").write_text("grün\n", encoding="utf-8")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        micro.run(tmp_path, "git", *words)
    return tmp_path


def test_what_it_prints_is_given_as_it_is(repo, monkeypatch):
    (repo / "text").write_text("rot\n")
    assert git.output("show", "HEAD:./text", folder=repo) == "grün\n"
    monkeypatch.chdir(repo)
    assert git.output("status", "--porcelain") == " M text\n"


@pytest.mark.parametrize("words", [("show", "HEAD:./missing"), ("show", "HEAD:./bytes"), ("no-such-command",)])
def test_a_failure_is_empty(repo, words):
    assert git.output(*words, folder=repo) == ""


def test_so_is_a_folder_without_a_repository_and_a_machine_without_git(repo, tmp_path_factory, monkeypatch):
    assert git.output("log", folder=tmp_path_factory.mktemp("plain")) == ""
    assert git.output("log", folder=repo / "missing") == ""
    monkeypatch.setenv("PATH", "")
    assert git.output("log", folder=repo) == ""
