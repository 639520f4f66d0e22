"""Weighted classes, early stopping and tuned decisions, through the stages that train and score a teacher."""

import csv
import json

import pytest

from tests.helpers import micro

pytestmark = pytest.mark.slow

SETTINGS = {
    "task": "classification",
    "data.embedded": "sentences",
    "methods": ["ft"],
    "teacher.class_weights": {"favourable": 0.25, "unfavourable": 4.0},
    "teacher.learning_rate": 1e-9,  # no score rises after the first evaluation
    "teacher.evaluations": 4,
    "teacher.patience": 1,
    "training.log_every": 3,
}


@pytest.fixture(scope="module")
def trained(stages, tmp_path_factory):
    """A repository with a teacher, and what its training printed."""
    repo = micro.repo(tmp_path_factory.mktemp("imbalance") / "repo", SETTINGS)
    stages.run_all(repo, (("inputs",), ("corpus",), ("prepare",)))
    return repo, stages.run(repo, "finetune", "teacher").out


def content(repo, path):
    return json.loads((repo / path).read_text())


def test_a_training_that_ends_early_says_where_and_is_recorded_with_its_updates(trained):
    repo, out = trained
    assert "weighs  the classes: favourable 0.25, unfavourable 4" in out
    assert "stopped after 4 of 8 updates, as patience asks for" in out
    record = content(repo, "data/runs/finetune_teacher.json")
    assert (record["updates"], record["planned_steps"], record["stopped_early"]) == (4, 8, True)
    steps = [row["step"] for row in csv.DictReader((repo / "metrics/curves/teacher.csv").open())]
    assert steps == ["3", "4"]


def test_an_evaluation_has_scores_of_classes_untuned_and_tuned(trained, stages):
    repo, _ = trained
    stages.run(repo, "evaluate_teacher")
    scores = content(repo, "metrics/runs/teacher.json")
    names = {"macro_f1", "minority_recall", *(f"tuned_{name}" for name in ("macro_f1", "minority_recall", "accuracy"))}
    assert names <= set(scores) and 0 < scores["tuned_threshold"] < 1
    assert "selection_macro_f1" in scores and "macro_f1" in content(repo, "metrics/selection/teacher.json")
    table = list(csv.DictReader((repo / "data/predictions/teacher.examples.csv").open()))
    right = [row["tuned"] == row["gold"] for row in table]
    assert scores["tuned_accuracy"] == pytest.approx(100 * sum(right) / len(right))
