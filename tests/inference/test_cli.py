"""Which model a command takes, and how it ends."""

import pytest

from distill.errors import UserError
from distill.inference import cli


def export(root, name: str) -> str:
    folder = root / cli.EXPORTS / name
    folder.mkdir(parents=True)
    (folder / "task.json").write_text("{}")
    return (cli.EXPORTS / name).as_posix()


def test_the_only_export_is_taken_and_several_are_listed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.model_path("there") == "there"
    with pytest.raises(UserError, match=r"--model: data/export has no exported model: name a checkpoint"):
        cli.model_path(None)
    only = export(tmp_path, "kd/1")
    assert cli.model_path(None) == only
    other = export(tmp_path, "ted/2")
    with pytest.raises(UserError, match=f"2 exported models are here: name one of {only}, {other}"):
        cli.model_path(None)


def test_an_error_is_one_line_and_code_2(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["command", "word"])

    def fails(words):
        raise UserError(f"{words[0]}:\n no good")

    with pytest.raises(SystemExit) as ended:
        cli.run(fails)
    assert ended.value.code == 2 and capsys.readouterr().err == "error: word: no good\n"


def test_ctrl_c_ends_without_a_traceback(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["command"])

    def stopped(words):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        cli.run(stopped)
    assert ended.value.code == 130 and capsys.readouterr() == ("", "")
