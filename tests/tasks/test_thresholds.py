"""Thresholds of several labels: the best of all cuts by brute force, exactly."""

import numpy as np
import pytest

from distill.tasks import thresholds


def f1(said: np.ndarray, gold: np.ndarray) -> float:
    below = said.sum() + gold.sum()
    return 2 * (said & gold).sum() / below if below else 0.0


@pytest.mark.parametrize("seed", range(6))
def test_no_cut_has_a_higher_f1(seed):
    random = np.random.default_rng(seed)
    gold = random.random((40, 4)) < [0.5, 0.1, 0.3, 0.03]
    gold[0] = True
    logits = np.round(3 * random.normal(size=gold.shape) + 2 * gold - 2, seed % 3)  # rounded: equal ones too
    found = thresholds.tune(logits, gold)
    said = thresholds.decide(logits, found)
    for number in range(4):
        column, true = logits[:, number], gold[:, number]
        cuts = [column.min() - 1, *np.unique(column)]
        best = max(f1(column > cut, true) for cut in cuts)
        assert f1(said[:, number], true) == pytest.approx(best, abs=1e-12)
        assert f1(1 / (1 + np.exp(-column)) > found[number], true) == pytest.approx(best, abs=1e-12)


def test_of_equally_good_cuts_the_nearest_to_one_half_is_taken():
    logits = np.array([[3.0, 2.0], [1.0, 1.0], [-1.0, -2.0]])
    gold = np.array([[True, True], [True, False], [False, False]])
    assert thresholds.tune(logits, gold) == pytest.approx([0.5, 1 / (1 + np.exp(-1.5))])


def test_a_class_that_no_row_has_keeps_one_half():
    assert thresholds.tune(np.ones((3, 2)), np.array([[True, False]] * 3)).tolist()[1] == 0.5


def test_far_logits_have_thresholds_that_a_probability_can_say():
    logits = np.array([[800.0, -900.0], [-800.0, -700.0]])
    gold = np.array([[True, False], [False, True]])
    found = thresholds.tune(logits, gold)
    assert ((found > 0) & (found < 1)).all()
    assert f1(thresholds.decide(logits, found)[:, 0], gold[:, 0]) == 1


def test_more_classes_have_one_threshold_for_all():
    random = np.random.default_rng(0)
    gold = random.random((30, thresholds.MOST + 1)) < 0.05
    logits = random.normal(size=gold.shape) + 3 * gold - 4
    found = thresholds.tune(logits, gold)
    assert len(set(found)) == 1
    best = max(f1(logits > cut, gold) for cut in np.unique(logits))
    assert f1(thresholds.decide(logits, found), gold) == pytest.approx(best)
    assert thresholds.of_scores(thresholds.named(found), len(found)) == found.tolist()


def test_thresholds_are_read_from_the_scores_by_number():
    assert thresholds.of_scores({"tuned_threshold_0": 0.25, "tuned_threshold_1": 0.5}, 2) == [0.25, 0.5]
    assert thresholds.of_scores({"tuned_threshold_0": 0.25}, 2) is None
    assert thresholds.of_scores(thresholds.named(np.array([0.1, 0.2])), 2) == [0.1, 0.2]
