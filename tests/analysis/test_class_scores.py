"""Scores of each class, against scikit-learn's."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from distill.analysis import class_scores

CLASSES = ("a", "b", "c")


def meta(classes, **rows):
    return {"labels": list(classes), "splits": {split: {"labels": counts} for split, counts in rows.items()}}


META = meta(CLASSES, train=[50, 5, 30], selection=[5, 1], validation=[30, 20, 10])


def table(seed, classes=CLASSES, rows=60, tuned=True):
    random = np.random.default_rng(seed)
    gold = np.array(classes)[np.random.default_rng(9).integers(0, len(classes), rows)]
    said = {"predicted": np.where(random.random(rows) < 0.6, gold, classes[0])}
    if tuned:
        said["tuned"] = np.where(random.random(rows) < 0.8, gold, classes[1])
    return pd.DataFrame({"gold": gold, **said})


TABLES = {"teacher": {None: table(0)}, "kd": {1: table(1), 2: table(2)}}
SCORES = {
    "teacher": {None: {"macro_f1": 50.0, "tuned_macro_f1": 60.0, "minority_recall": 1.0, "accuracy": 9.0}},
    "kd": {1: {"macro_f1": 40.0, "minority_recall": 2.0}, 2: {"macro_f1": 42.0, "minority_recall": 4.0}},
}


def test_scores_of_each_class_are_scikit_learn_s_and_means_over_seeds():
    found = class_scores.of(TABLES, SCORES, META)
    assert found["rarest"] == "b" and found["train"] == 85
    assert [part["class"] for part in found["classes"]] == ["b", "c", "a"]
    assert found["classes"][1]["rows"] == {"train": 30, "selection": 0, "validation": 10}
    for part in found["classes"]:
        for model, seeds in TABLES.items():
            for column, beginning in (("predicted", ""), ("tuned", "tuned_")):
                for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
                    each = [
                        score(frame["gold"], frame[column], labels=[part["class"]], average=None, zero_division=0.0)[0]
                        for frame in seeds.values()
                    ]
                    assert part["scores"][model][f"{beginning}{name}"] == pytest.approx(100 * np.mean(each))


def test_scores_of_all_classes_are_those_of_the_runs():
    models = class_scores.of(TABLES, SCORES, META)["models"]
    assert models["kd"] == {"macro_f1": 41.0, "minority_recall": 3.0}
    assert models["teacher"] == {"macro_f1": 50.0, "tuned_macro_f1": 60.0, "minority_recall": 1.0}


def test_of_many_classes_the_rarest_are_listed_and_nothing_tuned_where_there_is_none():
    names = tuple(f"c{number}" for number in range(30))
    tables = {"ft": {1: table(1, names, 300, tuned=False)}}
    known = meta(names, train=[100 - number for number in range(30)], selection=[5] * 30, validation=[10] * 30)
    found = class_scores.of(tables, {"ft": {1: {"macro_f1": 1.0}}}, known)
    assert [part["class"] for part in found["classes"]] == [f"c{number}" for number in range(29, 9, -1)]
    assert set(found["classes"][0]["scores"]["ft"]) == {"precision", "recall", "f1"}


def test_without_labelled_training_rows_the_selection_split_says_which_class_is_rare():
    unlabelled = meta(CLASSES, train=[], selection=[5, 9, 2], validation=[30, 20, 10])
    found = class_scores.of(TABLES, SCORES, unlabelled)
    assert found["rarest"] == "c" and found["train"] == 0
    assert [part["class"] for part in found["classes"]] == ["c", "a", "b"]
