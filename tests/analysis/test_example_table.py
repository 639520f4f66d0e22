"""Tables of examples on disk: nothing is lost, nothing is taken for a missing value, others are refused."""

import numpy as np
import pandas as pd
import pytest

from distill.analysis import example_table
from distill.errors import UserError

COLUMNS = {
    "id": ["007", "1e3", "a,b", 'say "so"'],
    "accuracy": [100.0, 0.0, 100 / 3, 1e-17],
    "gold": ["NA", "null", "3.0", "nan"],
    "predicted": ["NA", "", "-", "two\nlines"],
}


def test_a_table_reads_as_it_was_written(tmp_path):
    path = tmp_path / "x.examples.csv"
    example_table.write(COLUMNS, path)
    table = example_table.read(path)
    assert list(table.index) == COLUMNS["id"]
    assert {name: table[name].tolist() for name in table} == {k: v for k, v in COLUMNS.items() if k != "id"}
    before = path.read_bytes()
    example_table.write(COLUMNS, path)
    assert path.read_bytes() == before and b"\r" not in before


@pytest.mark.parametrize("name", ["a\rb", "a\nb", "a\r\nb", "NA", "", "1", '"', "a,b"])
def test_strange_names_come_back(tmp_path, name):
    path = tmp_path / "x.examples.csv"
    example_table.write(
        {"id": ["x", name], "accuracy": [100.0, 0.0], "gold": [name, "b"], "predicted": ["b", name]}, path
    )
    table = example_table.read(path)
    assert list(table.index) == ["x", name] and table["gold"].tolist() == [name, "b"]
    assert table["predicted"].tolist() == ["b", name] and table["accuracy"].tolist() == [100.0, 0.0]


def test_numbers_keep_every_digit(tmp_path):
    values = np.random.default_rng(0).normal(size=200) * 10.0 ** np.random.default_rng(1).integers(-9, 9, 200)
    example_table.write({"id": range(200), "gold": values, "predicted": -values}, tmp_path / "x.csv")
    table = example_table.read(tmp_path / "x.csv", numbers=True)
    assert table["gold"].tolist() == values.tolist() and (table["predicted"] == -table["gold"]).all()
    assert table.index[3] == "3"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "missing: run `dvc repro`"),
        ("", "not a table of examples"),
        ("name,f1\nx,1\n", "not a table of examples"),
        ("id,f1\nx,1,2\n", "not a table of examples"),
    ],
)
def test_what_is_no_table_is_refused_with_file_and_fix(tmp_path, content, said):
    path = tmp_path / "kd-1.examples.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=rf"kd-1\.examples\.csv: {said}") as caught:
        example_table.read(path)
    assert "dvc repro" in str(caught.value)


def test_tables_must_have_the_same_rows_in_the_same_order():
    one, same, other = (pd.DataFrame({"f1": [1, 2]}, index=ids) for ids in (["a", "b"], ["a", "b"], ["b", "a"]))
    example_table.check_same({"one": one, "same": same})
    with pytest.raises(UserError, match="other: has other examples than one: run `dvc repro`"):
        example_table.check_same({"one": one, "same": same, "other": other})
