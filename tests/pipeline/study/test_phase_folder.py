"""Figures are kept arm by arm, and give the same tables as the files they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from distill.analysis import bootstrap, example_table
from distill.errors import UserError
from pipeline.study.phase_folder import PhaseFolder
from pipeline.study.students import Student

ARMS = {name: [Student(name, seed, f"evaluate@{name}-{seed}") for seed in (1, 2)] for name in ("ft", "kd-tuned", "ted")}
ROWS = 50


def _table(name: str, seed: int, metric: str) -> dict[str, list[Any]]:
    random = np.random.default_rng([len(name), seed])
    table: dict[str, list[Any]] = {"id": [f"q{n}" for n in range(ROWS)]}
    if metric == "pearson":
        gold = np.random.default_rng(0).random(ROWS)
        return table | {"gold": gold.tolist(), "predicted": (gold + random.random(ROWS)).tolist()}
    right = random.random(ROWS) < 0.6
    return table | {
        "accuracy": (100.0 * right).tolist(),
        "gold": ["NA"] * ROWS,
        "predicted": np.where(right, "NA", "=b").tolist(),
        "confidence": random.random(ROWS).tolist(),
    }


def _run(clone: Path, members: list[Student], metric: str, teacher: str = "abc") -> None:
    """What the stages of an arm leave."""
    for folder in ("data/runs", "data/predictions", "metrics/runs"):
        (clone / folder).mkdir(parents=True, exist_ok=True)
    (clone / "data/runs/evaluate_teacher.json").write_text(json.dumps({"artifact_md5": teacher}))
    for member in members:
        table = _table(member.name, member.seed, metric)
        example_table.write(table, clone / f"data/predictions/{member.label}.examples.csv")
        scores = {metric: 50.0 + member.seed, f"selection_{metric}": 40.0, "loss": 1.0}
        (clone / member.scores).write_text(json.dumps(scores))
        (clone / member.trained).write_text(json.dumps({"updates": 5}))
        (clone / member.record).write_text(json.dumps({"examples": ROWS}))


@pytest.mark.parametrize("metric", ["accuracy", "f1", "pearson"])
def test_tables_are_those_of_the_runs(tmp_path: Path, metric: str) -> None:
    folder = PhaseFolder(tmp_path / "kept")
    for number, (arm, members) in enumerate(ARMS.items()):
        clone = tmp_path / f"clone-{number}"  # each on a machine of its own
        _run(clone, members, metric)
        assert not folder.holds(members)
        folder.keep(arm, members, clone, metric, "0123")
        assert folder.holds(members)
    everyone = [member for members in ARMS.values() for member in members]
    tables = folder.tables(everyone)
    assert list(tables) == list(ARMS) and list(tables["ft"]) == [1, 2]
    full = [pd.DataFrame(_table(member.name, member.seed, metric)).set_index("id") for member in everyone]
    kept = [tables[member.name][member.seed] for member in everyone]
    counts = next(iter(bootstrap.draws(ROWS, 20, 1)))
    expected, found = (bootstrap.score_of(metric, listed, ["=b", "NA"])(counts) for listed in (full, kept))
    assert (expected == found).all()
    rows = folder.summarized(everyone, metric)
    assert rows["kd-tuned"][metric] == 51.5 and rows["kd-tuned"]["seeds"] == [1, 2]
    assert not folder.done
    folder.finish(rows, None, {"picks": None})
    assert folder.done


def test_nothing_is_kept_of_the_reported_examples_where_arms_are_not_compared(tmp_path: Path) -> None:
    folder, clone = PhaseFolder(tmp_path / "kept"), tmp_path / "clone"
    _run(clone, ARMS["ft"], "accuracy")
    folder.keep("ft", ARMS["ft"], clone, None, "0123")
    assert folder.holds(ARMS["ft"]) and not list((tmp_path / "kept").glob("*.parquet"))


def test_an_arm_kept_again_replaces_itself(tmp_path: Path) -> None:
    folder, clone = PhaseFolder(tmp_path / "kept"), tmp_path / "clone"
    for _ in range(2):
        _run(clone, ARMS["ft"], "accuracy")
        folder.keep("ft", ARMS["ft"], clone, "accuracy", "0123")
    assert len(pd.read_parquet(tmp_path / "kept/examples.parquet").columns) == 2


def test_the_teacher_of_each_arm_is_on_record(tmp_path: Path) -> None:
    folder = PhaseFolder(tmp_path / "kept")
    for teacher, arm in (("abc", "ft"), ("other", "ted")):
        _run(tmp_path / arm, ARMS[arm], "accuracy", teacher)
        folder.keep(arm, ARMS[arm], tmp_path / arm, "accuracy", "0123")
    assert folder.arms() == {
        "ft": {"commit": "0123", "teacher": "abc"},
        "ted": {"commit": "0123", "teacher": "other"},
    }


def test_an_arm_whose_keeping_was_cut_off_is_not_held(tmp_path: Path) -> None:
    folder, clone = PhaseFolder(tmp_path / "kept"), tmp_path / "clone"
    _run(clone, ARMS["ft"], "accuracy")
    (clone / ARMS["ft"][1].scores).unlink()
    with pytest.raises(FileNotFoundError):
        folder.keep("ft", ARMS["ft"], clone, "accuracy", "0123")
    assert not folder.holds(ARMS["ft"])


def test_other_examples_are_refused(tmp_path: Path) -> None:
    folder, clone = PhaseFolder(tmp_path / "kept"), tmp_path / "clone"
    for arm in ("ft", "ted"):
        _run(clone, ARMS[arm], "accuracy")
    folder.keep("ft", ARMS["ft"], clone, "accuracy", "0123")
    path = clone / "data/predictions/ted-1.examples.csv"
    path.write_text(path.read_text().replace("q7", "other"))
    with pytest.raises(UserError, match="other examples than .*ted-1"):
        folder.keep("ted", ARMS["ted"], clone, "accuracy", "0123")


def test_figures_of_other_parameters_are_not_gone_on_with(tmp_path: Path) -> None:
    folder, params = PhaseFolder(tmp_path / "kept"), tmp_path / "params.yaml"
    params.write_text("seeds: [1]\n")
    folder.begin(params)
    folder.begin(params)
    params.write_text("seeds: [2]\n")
    with pytest.raises(UserError, match="not the parameters of this phase"):
        folder.begin(params)
    assert (tmp_path / "kept/params.yaml").read_text() == "seeds: [1]\n"
