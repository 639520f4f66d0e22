"""Figures are kept arm by arm, and give the same tables as the files they come from."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from distill.analysis import bootstrap
from distill.errors import UserError
from pipeline.process.hashes import dvc_md5
from pipeline.study.phase_folder import PhaseFolder
from pipeline.study.students import Student
from tests.helpers import studied

ARMS = {name: [Student(name, seed, f"evaluate@{name}-{seed}") for seed in (1, 2)] for name in ("ft", "kd-tuned", "ted")}


@pytest.mark.parametrize("metric", ["accuracy", "f1", "pearson"])
def test_tables_are_those_of_the_runs(tmp_path: Path, metric: str) -> None:
    folder = PhaseFolder(tmp_path / "kept")
    for number, (arm, members) in enumerate(ARMS.items()):
        clone = tmp_path / f"clone-{number}"  # each on a machine of its own
        studied.run(clone, members, metric)
        assert not folder.holds(arm)
        folder.keep(arm, members, clone, metric, "0123")
        assert folder.holds(arm)
    everyone = [member for members in ARMS.values() for member in members]
    tables = folder.tables(ARMS)
    assert list(tables) == list(ARMS) and list(tables["ft"]) == [1, 2]
    full = [pd.DataFrame(studied.table(member.name, member.seed, metric)).set_index("id") for member in everyone]
    kept = [tables[member.name][member.seed] for member in everyone]
    counts = next(iter(bootstrap.draws(studied.ROWS, 20, 1)))
    expected, found = (bootstrap.score_of(metric, listed, ["=b", "NA"])(counts) for listed in (full, kept))
    assert (expected == found).all()
    rows = folder.summarized(everyone, metric)
    assert rows["kd-tuned"][metric] == 51.5 and rows["kd-tuned"]["seeds"] == [1, 2]
    assert not folder.done
    folder.finish(rows, None, {"picks": None})
    assert folder.done


def test_nothing_is_kept_of_the_reported_examples_where_arms_are_not_compared(tmp_path: Path) -> None:
    folder, clone = PhaseFolder(tmp_path / "kept"), tmp_path / "clone"
    studied.run(clone, ARMS["ft"], "accuracy")
    folder.keep("ft", ARMS["ft"], clone, None, "0123")
    assert folder.holds("ft") and not list((tmp_path / "kept").rglob("*.parquet"))


def test_an_arm_kept_again_replaces_itself(tmp_path: Path) -> None:
    folder, clone = PhaseFolder(tmp_path / "kept"), tmp_path / "clone"
    for _ in range(2):
        studied.run(clone, ARMS["ft"], "accuracy")
        folder.keep("ft", ARMS["ft"], clone, "accuracy", "0123")
    assert len(folder.tables({"ft": ARMS["ft"]})["ft"]) == 2


def test_the_teacher_of_each_arm_is_on_record(tmp_path: Path) -> None:
    """In each phase, whether the teacher is scored or not; what runs once is kept of the first machine."""
    folder = PhaseFolder(tmp_path / "kept")
    for teacher, arm in (("abc", "ft"), ("other", "ted")):
        studied.run(tmp_path / arm, ARMS[arm], "accuracy", teacher)
        folder.keep(arm, ARMS[arm], tmp_path / arm, None, "0123")
    hashes = [dvc_md5(tmp_path / arm / "data/models/teacher") for arm in ("ft", "ted")]
    assert folder.arms() == {
        "ft": {"commit": "0123", "teacher": hashes[0]},
        "ted": {"commit": "0123", "teacher": hashes[1]},
    }
    assert hashes[0] != hashes[1]
    assert json.loads((tmp_path / "kept/data/runs/finetune_teacher.json").read_text()) == {"stage": "abc"}
    assert not (tmp_path / "kept/data/runs/evaluate_teacher.json").exists()


@pytest.mark.parametrize("lost", ["metrics/runs/ft-2.json", "data/runs/distill-ft-2.json", "data/predictions/ft-2"])
def test_an_arm_whose_keeping_was_cut_off_is_not_held(tmp_path: Path, lost: str) -> None:
    folder, clone = PhaseFolder(tmp_path / "kept"), tmp_path / "clone"
    studied.run(clone, ARMS["ft"], "accuracy")
    next(iter(clone.glob(f"{lost}*"))).unlink()
    with pytest.raises(UserError):
        folder.keep("ft", ARMS["ft"], clone, "accuracy", "0123")
    assert not folder.holds("ft") and folder.arms() == {}


def test_other_examples_are_refused(tmp_path: Path) -> None:
    folder, clone = PhaseFolder(tmp_path / "kept"), tmp_path / "clone"
    for arm in ("ft", "ted"):
        studied.run(clone, ARMS[arm], "accuracy")
    for seed in (1, 2):
        path = clone / f"data/predictions/ted-{seed}.examples.csv"
        path.write_text(path.read_text().replace("q7", "other"))
    for arm in ("ft", "ted"):
        folder.keep(arm, ARMS[arm], clone, "accuracy", "0123")
    with pytest.raises(UserError, match=r"ted\.parquet: has other examples than the arms before it"):
        folder.tables({arm: ARMS[arm] for arm in ("ft", "ted")})


@pytest.mark.parametrize("damage", ["lost", "cut"])
def test_damaged_examples_are_told_in_one_line(tmp_path: Path, damage: str) -> None:
    folder, clone = PhaseFolder(tmp_path / "kept"), tmp_path / "clone"
    studied.run(clone, ARMS["ft"], "accuracy")
    folder.keep("ft", ARMS["ft"], clone, "accuracy", "0123")
    path = tmp_path / "kept/examples/ft.parquet"
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:100])
    with pytest.raises(UserError, match=r"ft\.parquet: .*restore it from Git"):
        folder.tables({"ft": ARMS["ft"]})


@pytest.mark.parametrize("other", ["parameters", "data"])
def test_figures_of_other_parameters_or_data_are_not_gone_on_with(tmp_path: Path, other: str) -> None:
    folder, params = PhaseFolder(tmp_path / "kept"), tmp_path / "params.yaml"
    params.write_text("seeds: [1]\n")
    for _ in range(2):
        folder.begin(params, {"train.tsv": "abc"})
    if other == "parameters":
        params.write_text("seeds: [2]\n")
    with pytest.raises(UserError, match="not those of this phase"):
        folder.begin(params, {"train.tsv": "abc" if other == "parameters" else "def"})
    assert (tmp_path / "kept/params.yaml").read_text() == "seeds: [1]\n"
    assert json.loads((tmp_path / "kept/data.json").read_text()) == {"train.tsv": "abc"}
