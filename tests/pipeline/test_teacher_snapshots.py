"""Checkpoints of the teacher's training, through the stages: kept, predicted, learnt from one by one and in order."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from distill import parameters
from distill.runtime.files import tree_hash
from distill.tasks.registry import load_task
from pipeline.summary import snapshots
from tests.helpers import micro

pytestmark = pytest.mark.slow

SETTINGS = {
    "methods": ["ft", "kd", "early", "pro_kd"],
    "teacher.snapshots": 2,
    "early": {"method": "kd", "teacher_snapshot": 1},
}


@pytest.fixture(scope="module")
def taught(base, stages, tmp_path_factory) -> Path:
    """A repository whose teacher is fine-tuned again with two checkpoints kept, and taught by them."""
    repo = shutil.copytree(base, tmp_path_factory.mktemp("snapshots") / "repo")
    (repo / "params.yaml").write_text(micro.params(SETTINGS))
    made = (("inputs",), ("finetune", "teacher"), ("plan",), ("predict",), ("signals",))
    stages.run_all(repo, (*made, *(("distill", name, "1") for name in ("kd", "early", "pro_kd"))))
    return repo


def test_by_default_none_is_kept(base):
    for folder in ("models/snapshots", "snapshots"):
        assert [path.name for path in (base / "data" / folder).iterdir()] == ["not-needed.json"]
    assert json.loads((base / "metrics/selection/snapshots.json").read_text()) == {}


def test_they_change_neither_the_teacher_nor_what_was_made_of_it(base, taught):
    for name in ("data/models/teacher", "data/teacher", "metrics/selection/teacher.json", "metrics/curves/teacher.csv"):
        assert tree_hash(taught / name) == tree_hash(base / name), name


def test_each_is_a_checkpoint_with_a_score_and_logits_of_its_own(taught):
    scores = json.loads((taught / "metrics/selection/snapshots.json").read_text())
    teacher = json.loads((taught / "metrics/selection/teacher.json").read_text())
    assert {name: row["update"] for name, row in scores.items()} == {"1": 2, "2": 5, "teacher": 8}
    assert scores["teacher"] == {"update": 8, **teacher} and scores["1"].keys() == scores["teacher"].keys()
    folders = [*(taught / "data/models/snapshots" / name for name in "12"), taught / "data/models/teacher"]
    weights = [load_file(folder / "model.safetensors") for folder in folders]
    assert {path.name for path in folders[0].iterdir()} == {path.name for path in folders[2].iterdir()}
    assert weights[0].keys() == weights[1].keys() == weights[2].keys()
    hashes = [tree_hash(folder / "model.safetensors") for folder in folders]
    caches = [taught / "data/snapshots/1", taught / "data/snapshots/2", taught / "data/teacher"]
    metas = [json.loads((cache / "meta.json").read_text()) for cache in caches]
    assert [meta["teacher"] for meta in metas] == hashes and len(set(hashes)) == 3
    assert metas[0]["arrays"].keys() == {"logits"} and len({tree_hash(cache / "logits") for cache in caches}) == 3


def test_each_name_gets_the_logits_that_it_learns_from_and_no_others(taught):
    signals = taught / "data/signals"
    found = {path.name: {entry.name for entry in path.iterdir()} for path in signals.iterdir()}
    logits = {"signals.json", "logits", "teacher"}
    assert found == {"ft": {"signals.json"}, "kd": logits, "early": logits, "pro_kd": logits | {"snapshots"}}
    assert tree_hash(signals / "early/logits") == tree_hash(taught / "data/snapshots/1")
    assert (
        tree_hash(signals / "kd/logits") == tree_hash(signals / "pro_kd/logits") == tree_hash(taught / "data/teacher")
    )
    assert tree_hash(signals / "pro_kd/snapshots") == tree_hash(taught / "data/snapshots")


def test_a_student_of_an_early_checkpoint_is_another_one(taught):
    students = [taught / f"data/models/distill/{name}/1/model.safetensors" for name in ("kd", "early", "pro_kd")]
    assert len({tree_hash(student) for student in students}) == 3


def test_the_report_asks_which_checkpoint_teaches_best(taught, monkeypatch):
    params, task = parameters.load(taught / "params.yaml"), load_task("qa")
    summary = {
        "teacher": {"f1": 9.0},
        "ft": {"f1": 1.0},
        "kd": {"f1": 2.0},
        "early": {"f1": 3.0},
        "pro_kd": {"f1": 4.0},
    }
    monkeypatch.chdir(taught)
    rows = snapshots.rows(params, task, summary)
    assert [(row["snapshot"], row["update"], row["students"]) for row in rows] == [
        (1, 2, {"early": 3.0}),
        (2, 5, {}),
        (None, 8, {"kd": 2.0}),
    ]
    assert all({"em", "f1"} <= row["scores"].keys() for row in rows)


def test_a_snapshot_that_was_not_predicted_is_named_with_its_stage(base, stages, tmp_path):
    repo = shutil.copytree(base, tmp_path / "repo")
    (repo / "params.yaml").write_text(micro.params(SETTINGS))
    stages.run(repo, "plan")
    done = stages.run(repo, "signals", check=False)
    assert done.code == 2 and "data/snapshots/1: not made" in done.err and "run `dvc repro predict_teacher`" in done.err
