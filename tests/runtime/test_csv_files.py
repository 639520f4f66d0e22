"""CSV files: what data says is text, in a spreadsheet and in the page of DVC's plots."""

import csv
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.runtime import csv_files

FORMULAS = [
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "-inf",
    "-",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "@a\rb",
    "＝1+1",
]
NUMBERS = ["-1", "+1", "-0.5", "1e-5", "-1E+3", ".5", "-.5"]
PLAIN = ["", "negative", "1+1", "a=b", "'", "it's", "NA", "two\nlines"]


def cells(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("text", FORMULAS)
@pytest.mark.parametrize("exact", [False, True])
def test_no_text_is_a_formula(text, exact, tmp_path):
    csv_files.write_frame(pd.DataFrame({text: [text, "x"], "n": [-1.5, 2.0]}), tmp_path / "frame.csv", exact)
    csv_files.write_rows([text, "n"], [[text, -1.5], ["x", 2.0]], tmp_path / "rows.csv")
    for name in ("frame.csv", "rows.csv"):
        head, first, _ = cells(tmp_path / name)
        cell = f"'{text}" if exact and name == "frame.csv" else f"'{text}".replace("\r", "\n")
        assert head == [cell, "n"] and first == [cell, "-1.5"]


@pytest.mark.parametrize("text", [*NUMBERS, *PLAIN])
def test_numbers_and_other_texts_stay_as_they_are(text, tmp_path):
    csv_files.write_rows(["a", "b"], [[text, "x"]], tmp_path / "rows.csv")
    csv_files.write_frame(pd.DataFrame({"a": [text, "y"], "b": ["x", "x"]}), tmp_path / "frame.csv", exact=True)
    assert cells(tmp_path / "rows.csv")[1] == [text, "x"] and cells(tmp_path / "frame.csv")[1] == [text, "x"]


@given(st.text(st.sampled_from("'=+-@\t\r\n1e.a＝"), max_size=6))
def test_an_escaped_text_comes_back(text):
    cell = csv_files.escape(text)
    assert csv_files.unescape(cell) == text
    assert cell[:1] not in ("=", "@", "\t", "\r", "\n")


def page_of(text: str) -> str:
    """The part of dvc_plots/index.html that `dvc plots show` makes of a table with this cell."""
    from dvc_render import VegaRenderer

    rows = [{"group": text, "score": "80.5"}]
    return VegaRenderer(rows, "slices.csv", x="score", y="group", template="bar_horizontal").generate_html()


def tags(html: str) -> list[str]:
    return re.findall(r"<[/!]?\w*", html)


@pytest.mark.parametrize("text", ["x</script><script>alert(1)</script>", "<!--<script>", "<img src=x>", "a<b"])
def test_no_text_is_markup_in_the_page_of_dvc_s_plots(text, tmp_path):
    csv_files.write_frame(pd.DataFrame({"group": [text], "score": [80.5]}), tmp_path / "frame.csv")
    csv_files.write_rows(["group", "score"], [[text, 80.5]], tmp_path / "rows.csv")
    assert tags(page_of(text)) != tags(page_of("plain")), "the cells stand in a script element as they are"
    for name in ("frame.csv", "rows.csv"):
        cell = cells(tmp_path / name)[1][0]
        assert tags(page_of(cell)) == tags(page_of("plain"))
        assert cell == text.replace("<", "‹") and json.dumps(cell) in page_of(cell)


def test_no_other_file_writes_csv():
    other = re.compile(r"\.to_csv\(|csv\.(Dict)?[wW]riter\(")
    root = Path(csv_files.__file__).parents[3]
    files = [file for folder in ("src", "pipeline") for file in (root / folder).rglob("*.py")]
    assert [file.name for file in files if other.search(file.read_text(encoding="utf-8"))] == ["csv_files.py"]
