"""Labels that are wrong on purpose: as many as asked for, the same ones each time, and nothing else is changed."""

import numpy as np
import pytest
from datasets import concatenate_datasets

from distill.data.loading.batches import Rows
from distill.tasks.label_noise import noised
from distill.tasks.registry import load_task
from tests.helpers import text

CLASSES = load_task("classification", labels=text.CLASSES)
NUMBER = load_task("regression")


@pytest.mark.parametrize(("task", "numeric"), [(CLASSES, False), (NUMBER, True)])
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_share_of_labels_differs_and_all_else_is_the_same(task, numeric, share):
    features = text.features(40, numeric=numeric)
    found = noised(features, task, share, seed=3)
    assert found.column_names == features.column_names and found.features == features.features
    for column in set(features.column_names) - {"labels"}:
        assert found[column][:] == features[column][:]
    changed = np.flatnonzero(np.array(found["labels"]) != np.array(features["labels"]))
    assert len(changed) <= round(share * 40)
    if task is CLASSES:  # a class is always another one; a drawn number may be the row's own
        assert len(changed) == round(share * 40) and set(found["labels"]) <= {0, 1, 2}
    else:
        assert set(found["labels"]) <= set(features["labels"]) and len(changed) >= round(share * 40) // 2


def test_the_labels_are_those_of_the_task_and_of_the_seed():
    features = text.features(40)
    one, again, other = (list(noised(features, CLASSES, 0.5, seed)["labels"]) for seed in (1, 1, 2))
    assert one == again == CLASSES.noisy(features, 0.5, 1)["labels"].tolist()
    assert one != other


@pytest.mark.parametrize(("task", "numeric"), [(CLASSES, False), (NUMBER, True)])
@pytest.mark.parametrize("copies", [1, 3])
def test_copies_of_a_row_have_the_label_of_their_original(task, numeric, copies):
    """Otherwise the copies of a row would tell its true label."""
    features = text.features(20, numeric=numeric)
    together = concatenate_datasets([features, features.select(np.repeat(np.arange(20), copies))]).flatten_indices()
    found = np.array(noised(together, task, 0.5, seed=3, originals=20)["labels"])
    alone = np.array(noised(features, task, 0.5, seed=3)["labels"])
    assert found[:20].tolist() == alone.tolist() and found[20:].tolist() == np.repeat(alone, copies).tolist()
    assert alone.tolist() != list(features["labels"])


def test_training_reads_the_new_labels_row_by_row():
    features = text.features(12)
    found = noised(features, CLASSES, 1.0, seed=1)
    rows = Rows(found, ("input_ids", "labels"))
    assert rows.lengths.tolist() == features["length"][:]
    for row in (0, 7, 11):
        assert rows[row]["input_ids"] == features[row]["input_ids"]
        assert rows[row]["labels"] == found[row]["labels"] != features[row]["labels"]


def test_the_features_given_stay_as_they_were():
    features = text.features(12)
    before = features["labels"][:]
    noised(features, CLASSES, 1.0, seed=1)
    assert features["labels"][:] == before
