"""Which model a command takes, what it reads, and how it ends."""

import io
import json

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


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: no JSON"),
        ("[1]", "line 2: no JSON object"),
        ('{"question": "a"}', "line 2: context: None: give a text"),
        ('{"question": 1, "context": "b"}', "line 2: question: 1: give a text"),
        ('{"question": "a", "context": "b", "more": 1}', "line 2: more: 1: give a text"),
        ('{"question": "a", "context": "b", "ids": 1}', "line 2: ids: unknown field: known are question, context"),
    ],
)
def test_lines_that_are_no_such_object_are_refused(line, message):
    good = json.dumps({"question": "a", "context": "b", "id": 7, "more": None})
    rows = cli.json_lines(io.StringIO(f"{good}\n{line}\n"), ("question", "context"), ("id", "more"))
    assert next(rows)["id"] == 7
    with pytest.raises(UserError, match=message):
        next(rows)


def test_a_stream_is_answered_in_parts_and_in_order(capsys):
    asked = []

    def ask(rows):
        asked.append(len(rows))
        return [{"double": 2 * row["value"]} for row in rows]

    rows = ({"value": i} | ({"id": f"é{i}"} if i % 2 else {}) for i in range(150))
    cli.stream(rows, ask)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told == [({"id": f"é{i}"} if i % 2 else {}) | {"double": 2 * i} for i in range(150)]
    assert sum(asked) == 150 and max(asked) < 150


def test_an_error_is_one_line_and_code_2(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["command", "word"])

    def fails(words):
        raise UserError(f"{words[0]}:\n no good")

    with pytest.raises(SystemExit) as ended:
        cli.run(fails)
    assert ended.value.code == 2 and capsys.readouterr().err == "error: word: no good\n"
