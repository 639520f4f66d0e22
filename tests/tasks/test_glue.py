"""Scores of classification and regression: the published definitions, written out, and scikit-learn's and scipy's."""

import math

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from distill.tasks import glue


def table(predicted, gold, one):
    """True and false positives, false and true negatives of class `one`."""
    pairs = list(zip(predicted.tolist(), gold.tolist(), strict=True))
    return (
        sum(p == one and g == one for p, g in pairs),
        sum(p == one and g != one for p, g in pairs),
        sum(p != one and g == one for p, g in pairs),
        sum(p != one and g != one for p, g in pairs),
    )


def f1_of(predicted, gold, one):
    tp, fp, fn, _ = table(predicted, gold, one)
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0


def pearson_of(a, b):
    a, b = a - sum(a) / len(a), b - sum(b) / len(b)
    return sum(a * b) / math.sqrt(sum(a * a) * sum(b * b))


def ranks(values):
    """Mean rank of equal values."""
    return np.array([(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values])


@pytest.mark.parametrize("seed", range(5))
def test_two_classes_are_glues_definitions(seed):
    predicted, gold = np.random.default_rng(seed).integers(0, 2, (2, 57))
    scores = glue.classification(predicted, gold, 2)
    tp, fp, fn, tn = table(predicted, gold, 1)
    assert scores["accuracy"] == pytest.approx(100 * (tp + tn) / 57)
    assert scores["f1"] == pytest.approx(100 * 2 * tp / (2 * tp + fp + fn))
    root = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert scores["mcc"] == pytest.approx(100 * (tp * tn - fp * fn) / root)
    assert scores["macro_f1"] == pytest.approx(100 * sum(f1_of(predicted, gold, c) for c in range(2)) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_more_classes_give_macro_f1_and_the_libraries_figures(seed):
    predicted, gold = np.random.default_rng(seed).integers(0, 4, (2, 60))
    scores = glue.classification(predicted, gold, 4)
    assert scores["f1"] == pytest.approx(100 * sum(f1_of(predicted, gold, c) for c in range(4)) / 4)
    assert scores["f1"] == pytest.approx(100 * sklearn.metrics.f1_score(gold, predicted, average="macro"))
    assert scores["macro_f1"] == scores["f1"]
    assert scores["accuracy"] == pytest.approx(100 * sklearn.metrics.accuracy_score(gold, predicted))
    assert scores["mcc"] == pytest.approx(100 * sklearn.metrics.matthews_corrcoef(gold, predicted))


def test_f1_of_two_classes_is_that_of_class_1_and_not_of_class_0():
    predicted, gold = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    assert glue.classification(predicted, gold, 2)["f1"] == pytest.approx(100 * 2 / 3)
    assert glue.classification(1 - predicted, 1 - gold, 2)["f1"] == pytest.approx(100 * 4 / 5)


def test_a_class_that_is_not_there_counts_as_0_in_the_macro_mean():
    gold = np.array([0, 1, 0, 1])
    assert glue.classification(gold, gold, 3)["f1"] == pytest.approx(100 * 2 / 3)


@pytest.mark.parametrize("gold", [[0, 0, 0], [1, 1, 1], [0, 1, 0]])
def test_predicting_one_class_alone_gives_finite_scores(gold):
    for value in (0, 1):
        scores = glue.classification(np.full(3, value), np.array(gold), 2)
        assert all(math.isfinite(score) for score in scores.values()) and scores["mcc"] == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_correlations_are_the_definitions_and_the_libraries(seed):
    generator = np.random.default_rng(seed)
    gold = generator.integers(0, 11, 40) / 2  # many ties, as in STS-B
    predicted = (gold + generator.normal(size=40)).round(1)
    scores = glue.regression(predicted.astype(np.float32), gold)
    assert scores["pearson"] == pytest.approx(100 * pearson_of(predicted, gold), rel=1e-6)
    assert scores["spearman"] == pytest.approx(100 * pearson_of(ranks(predicted), ranks(gold)), rel=1e-6)
    assert scores["mse"] == pytest.approx(sum((predicted - gold) ** 2) / 40, rel=1e-6)
    assert scores["pearson"] == pytest.approx(100 * scipy.stats.pearsonr(predicted, gold).statistic, rel=1e-6)
    assert scores["spearman"] == pytest.approx(100 * scipy.stats.spearmanr(predicted, gold).statistic, rel=1e-6)


@pytest.mark.parametrize(
    ("predicted", "gold"),
    [
        ([2.0, 2.0, 2.0], [0.0, 1.0, 2.0]),
        ([0.0, 1.0, 2.0], [3.0, 3.0, 3.0]),
        ([1.0], [2.0]),
        ([1e-300, 0.0], [0.0, 1.0]),
    ],
)
def test_a_correlation_that_does_not_exist_is_0_and_never_nan(predicted, gold):
    scores = glue.regression(np.array(predicted), np.array(gold))
    assert all(math.isfinite(score) for score in scores.values())
    if len(set(predicted)) == 1 or len(set(gold)) == 1:
        assert (scores["pearson"], scores["spearman"]) == (0.0, 0.0)
