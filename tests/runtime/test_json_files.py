"""Files of the pipeline's own that were damaged: one line with file, place and fix."""

import pytest

from distill.errors import UserError
from distill.runtime import json_files

GOOD = '{\n  "f1": 80.5,\n  "questions": 12\n}\n'
CONFLICT = '{\n<<<<<<< HEAD\n  "f1": 80.5\n=======\n  "f1": 80.6\n>>>>>>> theirs\n}\n'


def test_a_whole_file_comes_back_with_its_types(tmp_path):
    (tmp_path / "ft-1.json").write_text(GOOD)
    content = json_files.read(tmp_path / "ft-1.json", "run it", json_files.NUMBERS)
    assert content == {"f1": 80.5, "questions": 12} and isinstance(content["questions"], int)
    assert list(content) == ["f1", "questions"]


@pytest.mark.parametrize(
    ("damaged", "parts"),
    [
        ("", ["line 1, column 1: malformed JSON"]),
        (GOOD[:20], ["line 3, column 3: malformed JSON"]),
        (CONFLICT, ["marks of a merge conflict", "take one side"]),
        ('{"f1": NaN}', ["f1: nan: expected a number"]),
        ('{"f1": -Infinity}', ["f1: -inf: expected a number"]),
        ('{"f1": "80.5"}', ["f1: '80.5'"]),
        ('{"f1": true}', ["f1: True"]),
        ('{"f1": null}', ["f1: None"]),
        ('{"f1": {"mean": 1}}', ["f1: {'mean': 1}"]),
        ("[1, 2]", ["[1, 2]: input should be a valid dictionary"]),
        ("null", ["None: input should be a valid dictionary"]),
        ("[" * 100_000, ["nested too deep"]),
        ('{"f1": ' + "9" * 5000 + "}", ["more than 4,300 digits"]),
        ('{"f1": 1, "f1": 2}', ['key "f1" stands twice']),
        ("\ufeff{}", ["malformed JSON"]),
        (b'{"\xe9": 1}', ["not UTF-8 (byte 2)"]),
        (b"\x80\x04\x95pickle", ["not UTF-8 (byte 0)"]),
    ],
)
def test_a_damaged_file_costs_one_line(damaged, parts, tmp_path):
    file = tmp_path / "ft-1.json"
    file.write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
    with pytest.raises(UserError) as caught:
        json_files.read(file, "run `dvc repro`", json_files.NUMBERS)
    line = str(caught.value)
    assert line.startswith(f"{file}: ") and line.endswith("run `dvc repro`") and "\n" not in line and len(line) < 400
    assert all(part in line for part in parts), line


def test_a_file_that_is_missing_or_none_costs_one_line(tmp_path):
    with pytest.raises(UserError, match=r"none.json: missing: run it"):
        json_files.read(tmp_path / "none.json", "run it")
    with pytest.raises(UserError, match=r"Is a directory: make it a file that can be read, or run it"):
        json_files.read(tmp_path, "run it")
