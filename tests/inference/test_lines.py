"""Lines of JSON: each is answered or refused by itself, and as soon as the input pauses."""

import io
import json
import os
import sys
import tempfile
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill.errors import UserError
from distill.inference import lines

GOOD = {"question": "a", "context": "b"}


def ask(rows):
    """An answer in capitals; "long" cannot be answered."""
    if any(row["question"] == "long" for row in rows):
        raise UserError("question 1: its 400 tokens leave room for 0")
    return [{"text": row["question"].upper()} for row in rows]


def told(capsys, *content: bytes | str | dict) -> list[dict]:
    """What is printed for these lines; the error that ends them is the last item, where there is one."""
    encoded = [
        line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()
        for line in content
    ]
    error = []
    with tempfile.TemporaryFile() as file:
        file.write(b"\n".join(encoded))
        file.seek(0)
        try:
            lines.answer(io.TextIOWrapper(file), ("question", "context"), ("more",), ask)
        except UserError as raised:
            error = [{"raised": str(raised)}]
    return [json.loads(line, parse_constant=pytest.fail) for line in capsys.readouterr().out.split("\n")[:-1]] + error


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "no JSON (line 1, column 2"),
        ("[1]", "no JSON object"),
        ('{"question": "a"}', "context: is missing: give a text"),
        ('{"question": "a", "context": null}', "context: None: give a text"),
        ('{"question": 1, "context": "b"}', "question: 1: give a text"),
        ('{"question": " ", "context": "b"}', "question: is empty: give a text"),
        ('{"question": "a", "context": "b", "more": 1}', "more: 1: give a text"),
        ('{"question": "a", "context": "b", "more": "\\t"}', "more: is empty: give a text"),
        ('{"question": "a", "context": "b", "ids": 1}', "ids: unknown field: known are question, context, more, id"),
        ('{"question": "a", "context": "b \\ud83d"}', "context: holds half a surrogate pair"),
        ('{"question": "\\udcff", "context": "b"}', "question: holds half a surrogate pair"),
        (b'{"question": "a", "context": "caf\xe9"}', "byte 34: not UTF-8"),
        (b"\xff\xfe{\x00", "byte 1: not UTF-8"),
        ("[" * 100_000, "no JSON (brackets are nested too deep)"),
        ('{"id": ' + "1" * 5_000 + "}", "no JSON (has a number of more than 4,300 digits)"),
        ('{"question": "a", "question": "b", "context": "c"}', 'no JSON (key "question" stands twice'),
        ('{"id": NaN, "question": "a", "context": "b"}', "id: is or holds a number that JSON does not have"),
        ('{"id": [-Infinity], "question": "a", "context": "b"}', "id: is or holds a number that JSON does not have"),
        ('{"id": 1e999, "question": "a", "context": "b"}', "id: is or holds a number that JSON does not have"),
        ('{"question": ' + "[" * 900 + "]" * 900 + ', "context": "b"}', "question: [[[[[[[...]]]]]]]: give a text"),
        ('{"question": "long", "context": "b"}', "its 400 tokens leave room for 0"),
    ],
)
def test_a_bad_line_is_refused_and_those_around_it_are_answered(capsys, line, message):
    first, bad, last, error = told(capsys, GOOD | {"id": 7, "more": None}, line, GOOD | {"question": "c"})
    assert (first, last) == ({"id": 7, "text": "A"}, {"text": "C"})
    assert bad["error"].startswith(f"line 2: {message}") and "\n" not in bad["error"]
    assert error["raised"] == f"1 of 3 lines have no answer, the first of them {bad['error']}"


def test_a_refused_line_keeps_its_id_and_its_number_in_the_input(capsys):
    rows = told(capsys, GOOD, "", "  ", {"id": "x", "question": "", "context": "b"}, "", {"id": None} | GOOD, "?")
    assert [row.get("id", "none") for row in rows[:4]] == ["none", "x", None, "none"]
    assert rows[1]["error"].startswith("line 4: question") and rows[3]["error"].startswith("line 7: no JSON")
    assert rows[4]["raised"].startswith("2 of 4 lines have no answer, the first of them line 4: ")


def test_one_bad_line_in_a_thousand(capsys):
    rows = [GOOD | {"id": i, "question": "" if i == 500 else "long" if i == 700 else f"q{i}"} for i in range(1000)]
    *answers, error = told(capsys, *rows)
    assert [row["id"] for row in answers] == list(range(1000))
    assert [row["id"] for row in answers if "error" in row] == [500, 700]
    assert all(row["text"] == f"Q{row['id']}" for row in answers if "error" not in row)
    assert "2 of 1,000 lines" in error["raised"] and "line 501: question: is empty" in error["raised"]


def test_byte_order_mark_and_windows_line_ends(capsys):
    content = b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r"
    assert told(capsys, content, json.dumps(GOOD) + "\r", "") == [{"text": "A"}, {"text": "A"}]


def test_a_stream_is_answered_in_parts_and_in_order(capsys):
    asked = []

    def doubled(rows):
        asked.append(len(rows))
        return [{"double": 2 * len(row["value"])} for row in rows]

    rows = [{"value": "x" * (i + 1)} | ({"id": f"é{i}"} if i % 2 else {}) for i in range(150)]
    lines.answer(io.StringIO("\n".join(map(json.dumps, rows))), ("value",), (), doubled)
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert printed == [({"id": f"é{i}"} if i % 2 else {}) | {"double": 2 * (i + 1)} for i in range(150)]
    assert asked == [64, 64, 22]


def test_an_id_that_the_output_cannot_write_is_escaped(capsys, monkeypatch):
    assert told(capsys, '{"id": "\\ud800", "question": "a", "context": "b"}') == [{"id": "\ud800", "text": "A"}]
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", narrow)
    lines.answer(io.StringIO(json.dumps({"question": "é", "context": "b"})), ("question", "context"), (), ask)
    assert json.loads(narrow.buffer.getvalue()) == {"text": "É"}


@pytest.fixture
def pipe():
    """A pipe: a stream to read, and the descriptor to write."""
    read, write = os.pipe()
    with os.fdopen(read) as stream:
        yield stream, write


def test_a_line_is_handed_over_while_the_input_is_still_open(pipe):
    stream, write = pipe
    parts = lines.blocks(stream, size=3, pause=0.01)
    os.write(write, b"one\ntw")
    assert next(parts) == [(1, b"one")]
    os.write(write, b"o\n\nfour")
    assert next(parts) == [(2, b"two")]
    os.write(write, b"\n5\n6\n7\n8")
    assert next(parts) == [(4, b"four"), (5, b"5"), (6, b"6")]
    assert next(parts) == [(7, b"7")]
    os.close(write)
    assert list(parts) == [[(8, b"8")]]


def test_whoever_sends_a_line_and_waits_gets_its_answer(pipe, capsys, monkeypatch):
    """The second line is sent only once the first is answered."""
    stream, write = pipe
    answered = threading.Event()

    def told_at_once(rows):
        answered.set()
        return ask(rows)

    def sender():
        os.write(write, json.dumps(GOOD).encode() + b"\n")
        assert answered.wait(20)
        os.write(write, json.dumps(GOOD | {"question": "c"}).encode())
        os.close(write)

    thread = threading.Thread(target=sender)
    thread.start()
    lines.answer(stream, ("question", "context"), (), told_at_once)
    thread.join()
    assert [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()] == ["A", "C"]


def test_blocks_of_a_file_are_full(tmp_path):
    file = tmp_path / "lines"
    file.write_bytes(b"".join(b"%d %s\n" % (i, b"x" * 3_000) for i in range(200)))
    with file.open() as stream:
        assert [len(block) for block in lines.blocks(stream, size=64)] == [64, 64, 64, 8]


WORDS = st.sampled_from(["", " ", "long", "\ud800"])
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(["", " ", "long", "\ud800"])
    ),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
FIELDS = st.sampled_from(["question", "context", "more", "id", "other"])
WILD = st.one_of(
    st.binary(max_size=30),
    VALUES.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
    st.dictionaries(FIELDS, VALUES, max_size=5).map(lambda row: json.dumps(row).encode("utf-8", "surrogatepass")),
    st.dictionaries(FIELDS, st.text(), max_size=5).map(lambda row: json.dumps(row, ensure_ascii=False))
    .map(lambda line: line.encode("utf-8", "surrogatepass")),
)  # fmt: skip


@given(st.lists(WILD, max_size=6))
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_any_bytes_are_answered_or_refused_line_by_line(capsys, content):
    """As many lines of JSON come out as lines that are not blank go in, each an answer or an error of one line."""
    sent = [line for line in b"\n".join([*content, json.dumps(GOOD).encode()]).split(b"\n")]
    rows = told(capsys, *sent)
    ended = [row for row in rows if "raised" in row]
    answers = [row for row in rows if "raised" not in row]
    blank = sum(not line.decode("utf-8", "replace").removeprefix("\ufeff").strip() for line in sent)
    assert len(answers) == len(sent) - blank and answers[-1] == {"text": "A"}
    assert bool(ended) == any("error" in row for row in answers)
    assert all("\n" not in str(row.get("error", "")) for row in answers)
