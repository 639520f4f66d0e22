"""The preset command: what it prints, what it writes, what it refuses."""

import difflib
import shlex
import shutil

import pytest

from distill.config import reading
from distill.experiments import params_file
from pipeline.commands import preset

PRESET = "# description: a faster teacher\nteacher: {learning_rate: 3e-5}\nseeds: [7, 8]\n"


@pytest.fixture
def files(root, tmp_path, monkeypatch):
    """A folder with the project's params.yaml and a preset; the current folder."""
    shutil.copy(root / "tests/params.yaml", tmp_path)
    (tmp_path / "fast.yaml").write_text(PRESET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_applies_in_place_and_says_what_changed(files, capsys):
    before = (files / "params.yaml").read_text()
    old = reading.parse(before, "before")
    assert preset.main(["fast.yaml"]) == 0
    after = (files / "params.yaml").read_text()
    new = reading.parse(after, "after")
    rate = params_file.literal(old["teacher"]["learning_rate"])
    out = capsys.readouterr().out
    assert f"  teacher.learning_rate: {rate} -> 3.0e-05\n" in out
    assert "params.yaml: 2 values changed by preset fast.yaml" in out
    assert new == old | {"teacher": old["teacher"] | {"learning_rate": 3e-5}, "seeds": [7, 8]}
    lines = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    assert [line for line in lines if line[0] == "-"] == ["- - 1", "-   learning_rate: 1.0e-3"]
    assert [line for line in lines if line[0] == "+"] == ["+ - 7", "+ - 8", "+   learning_rate: 3.0e-05"]
    assert sorted(path.name for path in files.iterdir()) == ["fast.yaml", "params.yaml"]

    assert preset.main(["fast.yaml"]) == 0
    assert "0 values changed" in capsys.readouterr().out
    assert (files / "params.yaml").read_text() == after


def test_several_presets_are_applied_in_turn(files, capsys):
    (files / "slow.yaml").write_text("teacher: {learning_rate: 1e-6}\n")
    assert preset.main(["fast.yaml", "slow.yaml"]) == 0
    assert "params.yaml: 2 values changed by preset fast.yaml slow.yaml" in capsys.readouterr().out
    values = reading.parse((files / "params.yaml").read_text(), "params.yaml")
    assert (values["teacher"]["learning_rate"], values["seeds"]) == (1e-6, [7, 8])


def test_a_preset_of_a_table_and_one_of_its_tasks(files, capsys):
    assert preset.main(["reverse-kd", "tasks/mnli"]) == 0
    data = reading.parse((files / "params.yaml").read_text(), "params.yaml")["data"]
    assert (data["subset"], data["text"], data["mismatched_split"]) == ("mnli", "premise", "validation_mismatched")


def test_print_gives_pairs_that_a_shell_takes_apart(files, capsys):
    before = (files / "params.yaml").read_text()
    assert preset.main(["fast.yaml", "--print"]) == 0
    assert shlex.split(capsys.readouterr().out) == [
        *("-S", "teacher.learning_rate=3.0e-05"),
        *("-S", "seeds=[7, 8]"),
    ]
    assert (files / "params.yaml").read_text() == before


def test_diff_shows_lines_and_changes_nothing(files, capsys):
    before = (files / "params.yaml").read_text()
    assert preset.main(["fast.yaml", "--diff"]) == 0
    added = [line for line in capsys.readouterr().out.splitlines() if line.startswith("+")]
    assert added[0] == "+++ params.yaml with preset fast.yaml"
    assert any("learning_rate: 3.0e-05" in line for line in added)
    assert (files / "params.yaml").read_text() == before


def test_list_names_every_preset(root, capsys):
    assert preset.main(["--list"]) == 0
    out = capsys.readouterr().out
    for path in (root / "presets").glob("*.yaml"):
        assert f"{path.stem}: " in out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("teacher: {learning_rat: 1}", "teacher.learning_rat: params.yaml has no such parameter: did you"),
        ("teacher: {learning_rate: -1}", "teacher.learning_rate: -1"),
        ("seeds: []", "seeds"),
    ],
)
def test_a_wrong_preset_is_answered_and_nothing_is_written(files, capsys, content, message):
    (files / "fast.yaml").write_text(content)
    before = (files / "params.yaml").read_text()
    for mode in ([], ["--print"], ["--diff"]):
        assert preset.main(["fast.yaml", *mode]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("error: ")
        assert captured.err.count("\n") == 1
        assert message in captured.err
    assert (files / "params.yaml").read_text() == before


def test_without_a_params_file_it_says_where_to_run(files, capsys):
    (files / "params.yaml").unlink()
    assert preset.main(["fast.yaml"]) == 2
    assert "params.yaml: no such file: run from the project's root" in capsys.readouterr().err
