"""The project's metrics through `evaluate.Metric`: the same figures as the formulas and the libraries."""

import math

import evaluate
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from distill.tasks import glue, squad
from distill.tasks.glue_metric import ClassificationScores, RegressionScores
from distill.tasks.squad_metric import Squad


@pytest.mark.parametrize("classes", [2, 5])
def test_classification_is_the_formula_and_scikit_learn(classes):
    predicted, gold = np.random.default_rng(3).integers(0, classes, (2, 200))
    metric = ClassificationScores()
    assert isinstance(metric, evaluate.Metric)
    found = metric.compute(predictions=predicted, references=gold, classes=classes)
    assert found == glue.classification(predicted, gold, classes)
    assert found == metric.compute(predictions=predicted.tolist(), references=gold.tolist(), classes=classes)
    average = {"average": "macro"} if classes > 2 else {}
    assert found["f1"] == pytest.approx(100 * sklearn.metrics.f1_score(gold, predicted, **average))
    assert found["accuracy"] == pytest.approx(100 * sklearn.metrics.accuracy_score(gold, predicted))
    assert found["mcc"] == pytest.approx(100 * sklearn.metrics.matthews_corrcoef(gold, predicted))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_regression_is_the_formula_to_the_last_digit_and_scipy(dtype):
    generator = np.random.default_rng(4)
    gold = (generator.integers(0, 26, 300) / 5).astype(dtype)
    predicted = (gold + generator.normal(size=300)).astype(np.float32)
    metric = RegressionScores()
    assert isinstance(metric, evaluate.Metric)
    found = metric.compute(predictions=predicted, references=gold)
    assert found == glue.regression(predicted, gold)
    assert found["pearson"] == pytest.approx(100 * scipy.stats.pearsonr(predicted, gold).statistic)
    assert found["spearman"] == pytest.approx(100 * scipy.stats.spearmanr(predicted, gold).statistic)


def test_input_of_another_type_or_length_is_refused():
    with pytest.raises(ValueError, match="don't match the expected format"):
        ClassificationScores().compute(predictions=["a", "b"], references=[0, 1], classes=2)
    with pytest.raises(ValueError, match="Mismatch in the number"):
        RegressionScores().compute(predictions=[0.0, 1.0], references=[0.0])
    with pytest.raises(ValueError, match="don't match the expected format"):
        Squad("v1.1").compute(predictions=["a"], references=["a"])


def test_questions_without_a_threshold_are_the_formula_with_the_best_thresholds():
    keys = [f"q{i}" for i in range(60)]
    generator = np.random.default_rng(5)
    golds = {key: ["a cat", "cat on mat"][: generator.integers(0, 3)] for key in keys}
    texts = {key: ["", "cat", "mat"][generator.integers(0, 3)] for key in keys}
    odds = {key: float(generator.normal()) for key in keys}
    found = Squad("v2").compute(
        predictions=[{"id": k, "prediction_text": texts[k], "no_answer_probability": odds[k]} for k in keys],
        references=[{"id": k, "answers": {"text": golds[k], "answer_start": [0] * len(golds[k])}} for k in keys],
        no_answer_threshold=math.inf,
    )
    assert found == squad.scores(texts, golds, odds, True, None)
    plain = squad.scores(texts, golds, None, True, None)
    assert {key: found[key] for key in plain} == plain
