"""Rows of files: what is recognised, which row is refused alone, and which file as a whole."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.errors import UserError
from distill.inference import answer, classify
from distill.inference.files.sources import Source

QA = b"id%squestion%scontext\n7%swho?%sAda did\n"


def records(path, content: bytes, verb=classify.VERB, names=None, **more):
    path.write_bytes(content)
    return list(Source(path, verb, names or {}, **more).records())


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("separator", [b",", b";", b"\t", b"|"])
def test_separator_and_byte_order_mark_are_recognised(tmp_path, separator, mark):
    (record,) = records(tmp_path / "in.csv", mark + QA.replace(b"%s", separator), answer.VERB)
    assert record.row == {"question": "who?", "context": "Ada did"} and record.identifier == "7"


def test_columns_have_names_of_ones_own(tmp_path):
    content = b"review,key,text\nfine,a,not this\n"
    (record,) = records(tmp_path / "in.csv", content, names={"text": "review"}, id_column="key")
    assert record.row == {"text": "fine"} and record.identifier == "a" and record.problem is None


def test_bad_rows_of_a_csv_are_refused_alone(tmp_path):
    content = b'text,id\na,1\nb,c,2\n"d"e,3\ncaf\xe9,4\n,5\n\n"f\ng",6\n'
    found = records(tmp_path / "in.csv", content)
    assert [record.number for record in found] == [1, 2, 3, 4, 5, 6]
    problems = [record.problem for record in found]
    assert problems[0] is None and problems[5] is None and found[5].row == {"text": "f\ng"}
    assert problems[1].startswith("line 3: 3 values for 2 columns (separator ',')")
    assert problems[2].startswith("line 4: malformed CSV")
    assert problems[3].startswith("text: holds half a surrogate pair, or a byte that is not UTF-8, at character 3")
    assert problems[4] == "text: is empty: give a text"


def test_bad_rows_of_json_lines_are_refused_alone(tmp_path):
    content = b'{"text": "a", "more": 1}\n{\n[1]\n{"text": 5}\n{}\n{"text": "\xff"}\n{"text": "b", "text_pair": "c"}'
    found = records(tmp_path / "in.jsonl", content)
    assert [record.problem and record.problem.split(":")[0] for record in found] == [
        None,
        "no JSON (line 1, column 2",
        "no JSON (no JSON object)",
        "text",
        "text",
        "byte 11",
        None,
    ]
    assert found[6].row == {"text": "b", "text_pair": "c"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a;b\n1;2\n", r"has no column 'text' among a;b \(separator ','; --delimiter names another\): name it by"),
        (b"", "line 1: has no column names"),
        (b'text\n"open\nrest\n', "line 2: is malformed CSV"),
        (b"text,text\n", "names column 'text' twice"),
        ("text\na".encode("utf-16"), "is no UTF-8"),
    ],
)
def test_a_csv_that_cannot_be_read_to_its_end_is_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        records(tmp_path / "in.csv", content)


def test_parquet_is_read_by_columns_and_says_its_rows(tmp_path):
    path = tmp_path / "in.parquet"
    pq.write_table(
        pa.table({"text": ["a", None, "b"], "id": pa.array([1, 2, 3], pa.int32()), "other": [1, 2, 3]}), path
    )
    source = Source(path, classify.VERB, {})
    assert source.count() == 3 and source.id_type() == pa.int32()
    assert [record.problem for record in source.records()] == [None, "text: is missing: give a text", None]
    with pytest.raises(UserError, match="has no column 'other2' among text, id, other"):
        Source(path, classify.VERB, {"text": "other2"}).count()
    path.write_bytes(b"PAR1")
    with pytest.raises(UserError, match="is no Parquet"):
        source.count()


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist: check --input"):
        Source(tmp_path / "in.csv", classify.VERB, {})
    (tmp_path / "in.xlsx").touch()
    with pytest.raises(UserError, match="suffix '.xlsx': is none of"):
        Source(tmp_path / "in.xlsx", classify.VERB, {})
    (tmp_path / "in.csv").touch()
    with pytest.raises(UserError, match="--column: words: unknown field: known are text, text_pair"):
        Source(tmp_path / "in.csv", classify.VERB, {"words": "w"})
