"""Decisions tuned on the selection split, against scikit-learn and against every decision there is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from distill.tasks import decision
from distill.tasks.classification import TASK as Classification
from tests.helpers import text


def drawn(seed, rows, classes, ties=False):
    """Logits that say the rare classes too rarely, gold classes, and numbers of training rows."""
    random = np.random.default_rng(seed)
    gold = random.choice(classes, rows, p=np.arange(classes, 0, -1) ** 2 / (np.arange(classes, 0, -1) ** 2).sum())
    logits = random.normal(size=(rows, classes)) + 1.2 * np.eye(classes)[gold] - 0.8 * np.arange(classes)
    return (logits.round(1) if ties else logits), gold, [100 * (classes - number) ** 2 for number in range(classes)]


def candidates(needed):
    """An offset in every interval between neighbouring values, and outside them."""
    edges = np.unique(needed.round(9))
    return [edges[0] - 1, *((edges[1:] + edges[:-1]) / 2), edges[-1] + 1]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rare", [0, 1])
def test_of_two_classes_no_threshold_has_a_higher_f1_of_the_rarer_one(seed, rare, ties):
    logits, gold, rows = drawn(seed, 40, 2, ties)
    if rare == 0:
        logits, gold, rows = logits[:, ::-1].copy(), 1 - gold, rows[::-1]
    offsets = decision.tune(logits, gold, rows)
    found = f1_score(gold, decision.decide(logits, offsets), pos_label=rare, zero_division=0.0)
    gap = logits[:, rare] - logits[:, 1 - rare]
    tried = [f1_score(gold == rare, gap > cut, zero_division=0.0) for cut in candidates(gap)]
    assert found == pytest.approx(max(tried))
    probability = 1 / (1 + np.exp(-gap))
    said = np.where(probability > decision.threshold(offsets, rare), rare, 1 - rare)
    assert np.array_equal(said, decision.decide(logits, offsets)) and offsets[1 - rare] == 0


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("classes", [3, 5])
@pytest.mark.parametrize("seed", range(2))
def test_of_several_classes_no_change_of_one_offset_has_a_higher_macro_f1(seed, classes, ties):
    logits, gold, rows = drawn(seed, 40, classes, ties)
    offsets = decision.tune(logits, gold, rows)

    def macro(values):
        said = decision.decide(logits, values)
        return f1_score(gold, said, average="macro", labels=range(classes), zero_division=0.0)

    found = macro(offsets)
    assert found >= macro(np.zeros(classes))
    for number in range(classes):
        others = np.delete(logits + offsets, number, 1).max(1)
        for offset in candidates(others - logits[:, number]):
            changed = offsets.copy()
            changed[number] = offset
            assert macro(changed) <= found + 1e-9


@pytest.mark.parametrize("classes", [2, 4])
def test_a_decision_that_cannot_gain_stays_as_it_is(classes):
    gold = np.arange(40) % classes
    assert np.array_equal(decision.tune(4.0 * np.eye(classes)[gold], gold, [10] * classes), np.zeros(classes))
    missing = np.zeros(10, int)
    assert decision.tune(np.random.default_rng(0).normal(size=(10, 2)), missing, [9, 1])[0] == 0


def test_the_nearest_of_equally_good_thresholds_is_taken():
    logits = np.array([[0.0, -3.0], [0.0, -1.0], [0.0, -4.0], [0.0, -5.0]])
    offsets = decision.tune(logits, np.array([1, 1, 0, 0]), [9, 1])
    assert offsets.tolist() == [0.0, 3.5] and decision.threshold(offsets, 1) == pytest.approx(1 / (1 + np.exp(3.5)))
    assert decision.threshold(np.zeros(2), 0) == 0.5


@given(rows=st.lists(st.integers(0, 5), min_size=2, max_size=6), gold=st.lists(st.integers(0, 5), min_size=1))
@settings(max_examples=60)
def test_the_rarest_class_is_the_first_of_those_with_the_fewest_training_rows(rows, gold):
    known = [number for number in sorted(set(gold))]
    count = dict(enumerate(rows))
    least = min(count.get(number, 0) for number in known)
    expected = next(number for number in known if count.get(number, 0) == least)
    assert decision.rarest(rows, np.array(gold)) == expected


def report(classes, seed=1):
    names = [f"c{number}" for number in range(classes)]
    logits, gold, rows = drawn(seed, 300, classes)
    selection, validation = text.predicted(logits[:200], gold[:200], "s"), text.predicted(logits[200:], gold[200:], "v")
    for split in (selection, validation):
        split.meta["splits"]["train"]["labels"] = rows
    return Classification(labels=names).report(selection, validation, text.SETTINGS), selection, validation


@pytest.mark.parametrize("classes", [2, 3])
def test_tuned_scores_are_those_of_the_tuned_column_and_validation_tunes_nothing(classes):
    found, selection, validation = report(classes)
    names, rows = [f"c{number}" for number in range(classes)], validation.meta["splits"]["train"]["labels"]
    gold = np.asarray(validation.examples["label"])
    offsets = decision.tune(selection.logits.astype(float), np.asarray(selection.examples["label"]), rows)
    said = decision.decide(validation.logits.astype(float), offsets)
    assert list(found.examples["tuned"]) == [names[number] for number in said]
    assert not np.array_equal(said, validation.logits.argmax(1))
    scores, rare = found.scores, classes - 1
    assert scores["tuned_macro_f1"] == pytest.approx(100 * f1_score(gold, said, average="macro"))
    assert scores["macro_f1"] == pytest.approx(100 * f1_score(gold, validation.logits.argmax(1), average="macro"))
    assert scores["minority_recall"] == 100 * np.mean(validation.logits.argmax(1)[gold == rare] == rare)
    assert scores["tuned_minority_recall"] == 100 * np.mean(said[gold == rare] == rare) > scores["minority_recall"]
    assert decision.offsets_of(scores, rows, classes) == pytest.approx(offsets.tolist())
    if classes == 2:
        assert scores["tuned_threshold"] == decision.threshold(offsets, 1)
    else:
        assert [scores[f"tuned_offset_{number}"] for number in range(3)] == offsets.tolist()
        assert "tuned_threshold" not in scores and scores["macro_f1"] == scores["f1"]


def test_with_many_classes_nothing_is_tuned():
    found, _, _ = report(decision.MOST_CLASSES + 1)
    assert not any(name.startswith("tuned") for name in [*found.scores, *found.examples])
    assert {"macro_f1", "minority_recall"} <= set(found.scores)
    assert decision.offsets_of(found.scores, [1, 2], decision.MOST_CLASSES + 1) is None
    assert any(name.startswith("tuned") for name in report(decision.MOST_CLASSES)[0].scores)
