"""Files of stored predictions: the same records from every format, in a fixed order; what cannot be read is named."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import UserError
from distill.signals.predictions.files import SUFFIXES, files_of, records
from tests.helpers import stored

ROWS = [{"id": "a", "label": "good", "confidence": 0.5}, {"id": "b", "label": "bad", "confidence": None}]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_every_format_gives_the_same_records(tmp_path, suffix):
    found = list(records(stored.write(tmp_path / f"x{suffix}", ROWS)))
    assert [set(record.values) for record in found] == [{"id", "label", "confidence"}, {"id", "label"}]
    assert found[0].number(found[0].values["confidence"], "confidence") == 0.5
    assert [record.textual for record in found] == [suffix == ".csv"] * 2
    assert found[1].at == {".jsonl": "line 2", ".csv": "line 3", ".parquet": "row 1"}[suffix]


def test_an_empty_answer_of_csv_says_that_there_is_none(tmp_path):
    path = stored.write(tmp_path / "x.csv", [{"id": "a", "answer": "", "start": ""}])
    assert [record.values for record in records(path)] == [{"id": "a", "answer": ""}]


def test_nested_columns_of_parquet_are_objects_and_lists(tmp_path):
    """A struct, as pandas writes dicts, or a map."""
    pd.DataFrame({"id": ["a"], "probabilities": [{"x": 0.5, "y": 0.5}]}).to_parquet(tmp_path / "a.parquet")
    kind = pa.map_(pa.string(), pa.float64())
    table = pa.table({"id": ["b"], "probabilities": pa.array([[("x", 0.25), ("y", 0.75)]], kind)})
    pq.write_table(table, tmp_path / "b.parquet")
    found = [record.values["probabilities"] for record in records(tmp_path)]
    assert found == [{"x": 0.5, "y": 0.5}, {"x": 0.25, "y": 0.75}]


def test_a_folder_is_read_by_the_names_of_its_files(tmp_path):
    for name in ("b.jsonl", "a.csv"):
        stored.write(tmp_path / name, [{"id": name}])
    (tmp_path / "README.md").write_text("no outputs")
    assert [record.values["id"] for record in records(tmp_path)] == ["a.csv", "b.jsonl"]
    assert [path.name for path in files_of(tmp_path)] == ["a.csv", "b.jsonl"]


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("x.jsonl", '{"id": "a"}\n{"id": ', ["line 2", "malformed JSON"]),
        ("x.jsonl", '{"id": "a", "id": "b"}', ['key "id" stands twice']),
        ("x.jsonl", "[1]", ["not an object"]),
        ("x.jsonl", "", ["has no rows"]),
        ("x.csv", "id,id\n1,2\n", ['names column "id" twice']),
        ("x.csv", "id,label\n1\n", ["has 1 values for 2 columns"]),
        ("x.parquet", "no parquet", ["cannot be read", "write it again as Parquet"]),
        ("x.txt", "a", ['has the suffix ".txt"', ".parquet, .jsonl, .csv"]),
        ("folder/x.txt", "a", ["has no file to read"]),
    ],
)
def test_what_cannot_be_read_is_one_line_with_the_file(tmp_path, name, content, parts):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    path = path.parent if "/" in name else path
    with pytest.raises(UserError) as error:
        list(records(path))
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
    assert all(part in str(error.value) for part in parts), error.value


def test_a_file_that_is_not_there_names_the_parameter(tmp_path):
    with pytest.raises(UserError, match=r"params.yaml: teacher.predictions: .*: no such file or folder"):
        list(records(tmp_path / "none.jsonl"))


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(content=st.binary(max_size=80) | st.text(alphabet='{}[]":,\n\r\\a1', max_size=40).map(str.encode))
def test_wild_files_are_read_or_refused_in_one_line(tmp_path_factory, suffix, content):
    path = tmp_path_factory.getbasetemp() / f"wild{suffix}"
    path.write_bytes(content)
    try:
        assert all(isinstance(record.values, dict) for record in records(path))
    except UserError as error:
        assert str(error).startswith(f"{path}: ") and len(str(error).splitlines()) == 1
