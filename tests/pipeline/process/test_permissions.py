"""Files that may not be read or written cost one line, whoever reports them."""

import errno
import os

import pytest
import torch
from safetensors.torch import save_file

from pipeline.launch.run import run_stage
from pipeline.process.locks import exclusive
from pipeline.process.permissions import not_allowed


@pytest.mark.parametrize(
    ("number", "parts"),
    [
        (errno.EACCES, ["permission denied", "chown"]),
        (errno.EPERM, ["operation not permitted", "chown"]),
        (errno.EROFS, ["read-only file system", "mount it"]),
        (errno.ENOTDIR, ["not a directory", "a file stands where a folder is needed"]),
    ],
)
def test_what_the_system_refuses_is_named_with_its_fix(number, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = not_allowed(OSError(number, os.strerror(number), str(tmp_path / "metrics" / "runs.json")))
    assert line.startswith("metrics/runs.json: ") and "\n" not in line and all(part in line for part in parts)


def test_a_move_names_both_places(tmp_path):
    error = PermissionError(errno.EACCES, "x", "one", None, "other")
    assert not_allowed(error).startswith("one and other: permission denied")


def test_the_words_of_a_library_count(tmp_path):
    """safetensors raises an exception of its own."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception) as caught:
        save_file({"a": torch.zeros(2)}, tmp_path / "file" / "model.safetensors")
    assert "a file stands where a folder is needed" in not_allowed(caught.value)


def test_a_cause_counts_and_what_was_handled_before_does_not():
    try:
        raise RuntimeError("cannot save") from PermissionError(errno.EACCES, "x", "there")
    except RuntimeError as error:
        assert not_allowed(error).startswith("there: ")
    try:
        try:
            raise PermissionError(errno.EACCES, "x", "cache")
        except PermissionError:
            raise KeyError("bug") from None
    except KeyError as error:
        assert not_allowed(error) is None
    for other in (OSError(errno.ENOENT, "x", "there"), ValueError("3"), None):
        assert not_allowed(other) is None


def test_a_stage_ends_with_one_line(tmp_path, monkeypatch, capsys):
    """A file in the place of a folder: the tests may run as root, whom no rights hold back."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".scratch").write_text("")

    def main(role: str) -> None:
        with exclusive(tmp_path / ".scratch" / "stage.lock", "stage"):
            raise AssertionError("the lock cannot be made")

    monkeypatch.setattr("pipeline.launch.run.define", lambda *words: None)
    monkeypatch.setattr("pipeline.launch.run.artifacts.unneeded", lambda definition: None)
    monkeypatch.setattr("pipeline.launch.run.snapshot.begin", lambda files: None)
    monkeypatch.setattr("pipeline.launch.run.distributed.is_first", lambda: False)
    with pytest.raises(SystemExit) as caught:
        run_stage(main, "finetune", ["teacher"])
    err = capsys.readouterr().err
    assert caught.value.code == 2 and err.startswith("error: ") and err.count("\n") == 1
    assert ".scratch" in err and "move it away" in err
