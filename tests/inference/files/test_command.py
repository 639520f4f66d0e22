"""Options --input and --output: files, stdin and stdout, and how the command ends."""

import io
import sys
from types import SimpleNamespace

import pytest

from distill.errors import UserError
from distill.inference import answer, classify
from tests.helpers import text, tiny


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("classes")
    text.model("bert", layers=1, channels=2, id2label={0: "no", 1: "yes"}).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return str(folder)


def test_a_csv_with_a_byte_order_mark_and_semicolons_on_stdin(checkpoint, monkeypatch, capfdbinary):
    content = "\ufefftext;id\nw1 w2;a\n;b\nw3;c\n".encode()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    with pytest.raises(
        UserError, match=r"1 of 3 rows have no answer, the first of them row 2: text: is empty: .* of -$"
    ):
        classify.main(["--input", "-", "--output", "-", "--model", checkpoint])
    header, *rows = capfdbinary.readouterr().out.decode().splitlines()
    assert header == '"id","label","confidence","probability.no","probability.yes","error"'
    assert [row.split(",")[0] for row in rows] == ['"a"', '"b"', '"c"'] and rows[1].endswith(
        '"text: is empty: give a text"'
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--column", "text"], "--column: text: give FIELD=NAME"),
        (["--delimiter", "ab"], "--delimiter: 'ab': give one character"),
    ],
)
def test_options_that_cannot_be_are_named(checkpoint, tmp_path, words, message):
    with pytest.raises(UserError, match=message):
        classify.main(["--input", "in.csv", "--output", "out.csv", "--model", checkpoint, *words])


@pytest.mark.parametrize(
    "words", [[], ["--input", "in.csv"], ["--output", "o.csv"], ["w1", "--input", "i.csv", "--output", "o.csv"]]
)
@pytest.mark.parametrize("command", [answer, classify])
def test_half_of_the_options_ends_with_the_usage(command, words, capsys):
    with pytest.raises(SystemExit):
        command.main(words)
    assert "give " in capsys.readouterr().err
