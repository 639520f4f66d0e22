"""Means by slice, calibration over seeds, agreement, and which method counts as the best."""

import numpy as np
import pandas as pd
import pytest

from distill.analysis import breakdown
from distill.analysis.score_intervals import wilson
from distill.analysis.slices import Slice
from distill.tasks import squad

GROUPS = Slice("kind", "Kind", pd.Categorical(["x", "y", None, "x"], ["empty", "y", "x"]))


def test_a_slice_has_means_over_seeds_of_the_groups_with_examples():
    tables = {
        "teacher": {None: pd.DataFrame({"f1": [100.0, 50, 0, 0]})},
        "kd": {1: pd.DataFrame({"f1": [0.0, 10, 7, 20]}), 2: pd.DataFrame({"f1": [40.0, 30, 7, 60]})},
    }
    found = breakdown.by_slice(tables, [GROUPS], "f1")
    intervals = [group.pop("intervals") for part in found for group in part["groups"]]
    assert intervals[1] == {"teacher": wilson(50, 2, 0.95), "kd": wilson(30, 2, 0.95)}
    assert found == [
        {
            "name": "kind",
            "title": "Kind",
            "metric": "f1",
            "groups": [
                {"group": "y", "examples": 1, "scores": {"teacher": 50.0, "kd": 20.0}},
                {"group": "x", "examples": 2, "scores": {"teacher": 50.0, "kd": 30.0}},
            ],
        }
    ]


def test_scores_that_no_example_has_are_replaced_by_one_that_each_has():
    classes = {"kd": {1: pd.DataFrame({"accuracy": [100.0, 0, 0, 0], "gold": ["a"] * 4, "predicted": ["a"] * 4})}}
    found = breakdown.by_slice(classes, [GROUPS], "mcc")[0]
    assert found["metric"] == "accuracy" and found["groups"][1]["scores"] == {"kd": 50.0}
    numbers = {"kd": {1: pd.DataFrame({"gold": [0.0, 0, 0, 0], "predicted": [1.0, 2.0, 9.0, 3.0]})}}
    found = breakdown.by_slice(numbers, [GROUPS], "pearson")[0]
    assert found["metric"] == "mse" and [group["scores"]["kd"] for group in found["groups"]] == [4.0, 5.0]


def test_scores_of_entities_are_of_a_groups_counts_together():
    def table(right):
        counts = {"entities": [1, 2, 9, 3], "entities_said": [1, 1, 9, 1]}
        return pd.DataFrame(counts | {"entities_right": right})

    tables = {"kd": {1: table([1, 1, 9, 1]), 2: table([0, 0, 9, 0])}}
    (found,) = breakdown.by_slice(tables, [GROUPS], "f1")
    assert found["metric"] == "f1" and [group["examples"] for group in found["groups"]] == [1, 2]
    y, x = 200 * 1 / 3, 200 * 2 / 6
    assert [group["scores"]["kd"] for group in found["groups"]] == pytest.approx([y / 2, x / 2])


def test_bins_are_of_all_seeds_together():
    def table(confidence, correct):
        return pd.DataFrame({"confidence": confidence, "calibrated": [0.95, 0.95], "correct": correct})

    tables = {"kd": {1: table([0.05, 0.62], [0, 1]), 2: table([0.64, 0.66], [1, 0])}}
    scores = {"kd": {1: {"ece": 1.0, "ece_calibrated": 2.0, "temperature": 3.0}}}
    scores["kd"][2] = {"ece": 2.0, "ece_calibrated": 4.0, "temperature": 5.0}
    found = breakdown.calibrated(tables, scores)["kd"]
    assert (found["ece"], found["ece_calibrated"], found["temperature"]) == (1.5, 3.0, 4.0)
    assert found["bins"][6] == {
        "from": 0.6,
        "to": 0.7,
        "examples": 1.5,
        "confidence": pytest.approx(0.64),
        "accuracy": pytest.approx(2 / 3),
        "calibrated_examples": 0.0,
        "calibrated_confidence": None,
        "calibrated_accuracy": None,
    }
    assert found["bins"][9]["calibrated_examples"] == 2 and found["bins"][9]["calibrated_accuracy"] == 0.5
    assert len(found["bins"]) == 10


def test_answers_agree_as_texts_names_or_numbers():
    texts = {"teacher": {None: ["The cat", "dog", ""]}, "kd": {1: ["cat!", "dogs", ""], 2: ["cat", "dog", ""]}}
    assert breakdown.agreement(texts, squad.normalize) == {"kd": pytest.approx((200 / 3 + 100) / 2)}
    # Names of classes are not texts: "a" and "the" are two of them.
    names = {"teacher": {None: ["a", "the"]}, "kd": {1: ["the", "the"]}}
    assert breakdown.agreement(names, str) == {"kd": 50.0}
    numbers = {"teacher": {None: [1.0, 2.0, 4.0]}, "kd": {1: [3.0, 1.0, 9.0]}}
    expected = 100 * np.corrcoef([1.0, 2.0, 4.0], [3.0, 1.0, 9.0])[0, 1]
    assert breakdown.agreement(numbers, str) == {"kd": pytest.approx(expected)}


def test_oracle_scores_are_means_over_seeds_and_kept_apart():
    kd = {1: {"f1": 70.0, "best_f1_oracle": 75.0}, 2: {"f1": 71.0, "best_f1_oracle": 76.0}}
    assert breakdown.oracle({"kd": kd}) == {"kd": {"best_f1_oracle": 75.5}}
    assert breakdown.oracle({"kd": {1: {"accuracy": 70.0}}}) == {}


def test_the_best_method_is_chosen_on_the_selection_split_and_is_not_ft():
    scores = {"ft": (1.0, 99.0), "kd": (70.0, 80.0), "ted": (90.0, 75.0)}
    table = {name: {"f1": reported, "selection_f1": chosen} for name, (reported, chosen) in scores.items()}
    assert breakdown.best_method(table, ["ft", "kd", "ted"], "f1", "ft") == "kd"
    assert breakdown.best_method(table, ["ft"], "f1", "ft") is None
    assert breakdown.best_method(table, ["ft", "kd", "ted"], "f1", "kd") == "ft"
