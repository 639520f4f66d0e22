"""Fresh seeds for the picked method: what is written into params.yaml, and what is refused."""

import json
import shlex

import pytest

from pipeline.commands import confirm
from pipeline.stage import paths
from tests.helpers import micro


def row(selection):
    return {"f1": 50.0, "selection_f1": selection, "seeds": [1, 2]}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A finished run whose best method on the selection split is lwd."""
    monkeypatch.chdir(tmp_path)
    summary = {"teacher": row(99), "ft": row(70), "kd": row(78), "lwd": row(79), "ted": row(71)}
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "summary.json").write_text(json.dumps(summary))
    write(tmp_path)
    return tmp_path


def write(folder, **changes):
    (folder / "params.yaml").write_text(micro.params({"seeds": [1, 2], **changes}))


def test_the_picked_method_its_baselines_and_unused_seeds(project, capsys):
    before = (project / "params.yaml").read_text()
    assert confirm.main([]) == 0
    params = paths.params(pinned=False)
    assert params.confirm.methods == ["lwd", "ft", "kd"] and params.confirm.seeds == [101, 102]
    assert "Next, to train these 6 students and compare them: dvc repro" in capsys.readouterr().out
    after = (project / "params.yaml").read_text()
    comments = [[line.partition("#")[2] for line in text.splitlines() if "#" in line] for text in (before, after)]
    assert comments[0] == comments[1]
    # A second time the seeds are fresh again: those of before were looked at.
    assert confirm.main(["--seeds", "3", "--method", "ted"]) == 0
    params = paths.params(pinned=False)
    assert params.confirm.methods == ["ted", "ft", "kd"] and params.confirm.seeds == [103, 104, 105]


def test_kd_is_left_out_where_it_is_not_listed(project):
    write(project, methods=["ft", "lwd"])
    assert confirm.main([]) == 0
    assert paths.params(pinned=False).confirm.methods == ["lwd", "ft"]


def test_one_seed_is_told_to_give_no_verdict(project, capsys):
    assert confirm.main(["--seeds", "1"]) == 0
    assert "One seed gives no verdict" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "changes", "said"),
    [
        ("--method pkd", {}, "pkd: expected a method of"),
        ("--method ft", {}, "ft: expected a method of"),
        ("--seeds 0", {}, "--seeds 0: give 1 or more"),
        ("", {"methods": ["kd"]}, "'ft' is not among methods"),
        ("", {"methods": ["ft"]}, "has no method but ft: nothing was picked"),
    ],
)
def test_what_cannot_be_confirmed_is_one_line_and_writes_nothing(project, capsys, words, changes, said):
    write(project, **changes)
    before = (project / "params.yaml").read_bytes()
    assert confirm.main(shlex.split(words)) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and (project / "params.yaml").read_bytes() == before


def test_without_a_run_nothing_is_picked(project, capsys):
    (project / "metrics" / "summary.json").unlink()
    assert confirm.main([]) == 2
    assert "run `dvc repro` first" in capsys.readouterr().err
