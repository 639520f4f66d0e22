"""Examples with several classes in what the summary is made of: resampled F1, scores by class, slices, answers."""

import json

import datasets
import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from distill.analysis import bootstrap, breakdown, class_scores, disagreements, label_sets, slices

CLASSES = ("a|b", "b", 'c "quoted", č')
N = 37
META = {
    "labels": list(CLASSES),
    "splits": {
        "train": {"labels": [50, 4, 30], "examples": 70},
        "selection": {"labels": [5, 0, 4]},
        "validation": {"labels": [20, 6, 11]},
    },
}


def drawn(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((N, 3)) < [0.5, 0.2, 0.4]


def names(sets: np.ndarray) -> list[str]:
    return [json.dumps([CLASSES[i] for i in np.flatnonzero(row)], ensure_ascii=False) for row in sets]


def table(seed: int, gold: np.ndarray) -> pd.DataFrame:
    said, tuned = gold ^ (np.random.default_rng(seed).random((N, 3)) < 0.2), drawn(seed + 100)
    by_row = metrics.f1_score(gold, said, average=None, zero_division=0)
    assert len(by_row) == 3
    each = {"example_f1": [0.0] * N, "subset_accuracy": 100.0 * (said == gold).all(1)}
    columns = each | {"gold": names(gold), "predicted": names(said), "tuned": names(tuned)}
    return pd.DataFrame({"id": [str(i) for i in range(N)], **columns, "correct": (said == gold).all(1)}).set_index("id")


GOLD = drawn(0)
TABLES = [table(seed, GOLD) for seed in (1, 2)]


def test_lists_of_names_become_what_they_say():
    number = {name: place for place, name in enumerate(CLASSES)}
    assert (label_sets.matrix(TABLES[0]["gold"], number) == GOLD).all()
    assert label_sets.shown(json.dumps(["x", "y, z"])) == "x, y, z" and label_sets.shown("[]") == "none"


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_resampled_f1_is_scikit_learns_on_the_drawn_rows(average):
    score = bootstrap.score_of(f"{average}_f1", TABLES, CLASSES)
    groups = np.random.default_rng(9).integers(0, 12, N)
    counts = np.concatenate(list(bootstrap.draws(N, 20, 3, groups)), axis=1)
    number = {name: place for place, name in enumerate(CLASSES)}
    found = score(counts)
    for run, frame in enumerate(TABLES):
        said = label_sets.matrix(frame["predicted"], number)
        for r in range(20):
            rows = np.repeat(np.arange(N), counts[:, r].astype(int))
            expected = metrics.f1_score(GOLD[rows], said[rows], average=average, zero_division=0.0)
            assert found[run, r] == pytest.approx(100 * expected)


def test_scores_that_each_example_has_are_means():
    score = bootstrap.score_of("subset_accuracy", TABLES, CLASSES)
    assert score(np.ones((N, 1)))[:, 0] == pytest.approx([frame["subset_accuracy"].mean() for frame in TABLES])


def test_scores_by_class_are_scikit_learns():
    runs = [{"macro_f1": 40.0, "ap_1": 30.0, "tuned_threshold_1": 0.2}, {"macro_f1": 50.0, "ap_1": 40.0}]
    runs[1] |= {"tuned_threshold_1": 0.4}
    found = class_scores.of({"kd": dict(enumerate(TABLES))}, {"kd": dict(enumerate(runs))}, META)
    assert found["rarest"] == "b" and found["train"] == 70 and found["several"]
    assert [part["class"] for part in found["classes"]] == ["b", CLASSES[2], "a|b"]
    assert found["classes"][0]["rows"] == {"train": 4, "selection": 0, "validation": 6}
    number = {name: place for place, name in enumerate(CLASSES)}
    for part in found["classes"]:
        place = number[part["class"]]
        for column, beginning in (("predicted", ""), ("tuned", "tuned_")):
            said = [label_sets.matrix(frame[column], number)[:, place] for frame in TABLES]
            for name in ("precision", "recall", "f1"):
                score = getattr(metrics, f"{name}_score")
                expected = np.mean([100 * score(GOLD[:, place], each, zero_division=0.0) for each in said])
                assert part["scores"]["kd"][f"{beginning}{name}"] == pytest.approx(expected)
    first = found["classes"][0]["scores"]["kd"]
    assert first["average_precision"] == 35 and first["tuned_threshold"] == pytest.approx(0.3)
    assert "average_precision" not in found["classes"][1]["scores"]["kd"]


def test_slices_are_by_the_number_of_labels_and_score_each_example():
    rows = {"text": ["one two", "three", "x y z", "u"], "text_pair": [None] * 4, "label": [[0, 1], [], [2], [0, 1, 2]]}
    groupings = slices.of("multi_label", datasets.Dataset.from_dict(rows), META)
    assert groupings[0].groups.tolist() == ["2", "0", "1", "3"] and len(groupings) == 2
    frame = TABLES[0].iloc[:4].assign(example_f1=[10.0, 20.0, 30.0, 40.0])
    (parts, _) = breakdown.by_slice({"kd": {1: frame}}, groupings, "micro_f1")
    assert parts["metric"] == "example_f1"
    assert [group["scores"]["kd"] for group in parts["groups"]] == [20.0, 30.0, 10.0, 40.0]


def test_disagreements_show_the_labels_as_people_read_them():
    rows = datasets.Dataset.from_dict({"id": ["0", "1"], "text": ["x", "y"], "text_pair": [None, None]})
    frame = TABLES[0].iloc[:2].assign(gold=['["a|b", "b"]', "[]"])
    (shown, empty) = disagreements.describe([0, 1], rows, {"kd": frame}, {"kd": ['["b"]', "[]"]})
    assert shown["gold"] == "a|b, b" and shown["answers"] == {"kd": "b"} and empty["gold"] == "none"
