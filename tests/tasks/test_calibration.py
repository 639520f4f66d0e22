"""Temperature, confidence and expected calibration error against scipy, scikit-learn and plain loops."""

import math

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from distill.tasks import calibration


def logits_of(seed, rows=400, classes=3, scale=1.0):
    """Calibrated by construction, then multiplied by `scale`: (logits, gold)."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1.5, (rows, classes))
    gold = np.array([generator.choice(classes, p=row) for row in softmax(logits, axis=1)])
    return logits * scale, gold


def test_confidence_is_the_largest_share_of_the_softmax():
    logits, _ = logits_of(0)
    for temperature in (1.0, 0.3, 4.0):
        expected = softmax(logits / temperature, axis=1).max(1)
        assert calibration.confidence(logits, temperature) == pytest.approx(expected, rel=1e-12)
    few = np.array([[1.0, -np.inf], [-np.inf, -np.inf], [5000.0, 5001.0]])
    assert calibration.confidence(few) == pytest.approx([1.0, 0.0, 1 / (1 + math.exp(-1))])


@pytest.mark.parametrize("scale", [0.4, 1.0, 5.0])
def test_the_temperature_undoes_the_scale_of_logits(scale):
    logits, gold = logits_of(1, rows=4000, scale=scale)
    found = calibration.temperature_of_classes(logits, gold)
    assert found == pytest.approx(scale, rel=0.1)
    grid = np.geomspace(found / 3, found * 3, 301)
    losses = [log_loss(gold, softmax(logits / value, axis=1)) for value in grid]
    assert grid[np.argmin(losses)] == pytest.approx(found, rel=0.01)


def test_answers_are_fitted_by_the_binary_likelihood_of_being_right():
    generator = np.random.default_rng(2)
    logits = np.sort(generator.normal(0, 3, (500, 6)), axis=1)[:, ::-1].copy()
    logits[::3, 4:] = -np.inf
    logits[::7, 1:] = -np.inf  # one answer to choose from: sure at any temperature
    correct = generator.random(500) < calibration.confidence(logits, 2.5)
    found = calibration.temperature_of_answers(logits, correct)
    several = np.isfinite(logits[:, 1])

    def loss(temperature):
        return log_loss(correct[several], softmax(logits[several] / temperature, axis=1).max(1))

    grid = np.geomspace(0.2, 20, 801)
    assert grid[np.argmin([loss(value) for value in grid])] == pytest.approx(found, rel=0.01)
    assert found == pytest.approx(2.5, rel=0.25)


def test_where_no_answer_has_a_rival_the_temperature_is_1():
    logits = np.array([[3.0, -np.inf], [-np.inf, -np.inf]])
    assert calibration.temperature_of_answers(logits, np.array([1, 0])) == 1.0


def test_the_temperature_stays_finite_where_all_are_right_or_wrong():
    logits, _ = logits_of(3)
    low, high = calibration.TEMPERATURES
    right = calibration.temperature_of_answers(logits, np.ones(len(logits)))
    wrong = calibration.temperature_of_answers(logits, np.zeros(len(logits)))
    assert low <= right < 0.1 and 10 < wrong <= high
    extreme = np.array([[1e5, 0.0], [0.0, 1e5]])
    assert math.isfinite(calibration.temperature_of_answers(extreme, np.array([0, 1])))


def test_ece_is_the_loop_over_bins():
    generator = np.random.default_rng(4)
    confidence = np.append(generator.random(300), [0.0, 1.0, 0.1, 0.5])
    correct = generator.random(304) < confidence**2
    total = 0.0
    for k in range(10):
        inside = [i for i, c in enumerate(confidence) if k / 10 < c <= (k + 1) / 10 or c == k == 0]
        if inside:
            gap = sum(correct[i] for i in inside) / len(inside) - sum(confidence[i] for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(gap)
    assert calibration.ece(confidence, correct) == pytest.approx(100 * total)


def test_ece_of_one_bin_is_the_gap_and_of_sure_right_answers_0():
    assert calibration.ece(np.full(8, 0.75), np.array([1, 0] * 4)) == pytest.approx(25)
    assert calibration.ece(np.ones(5), np.ones(5)) == 0


def test_edges_belong_to_the_bin_below():
    assert calibration.bin_of(np.array([0.0, 0.1, 0.1000001, 0.5, 0.95, 1.0])).tolist() == [0, 0, 1, 4, 9, 9]


def test_scaling_helps_where_confidence_is_too_high():
    logits, gold = logits_of(5, rows=3000, scale=4.0)
    correct = logits.argmax(1) == gold
    temperature = calibration.temperature_of_classes(logits[:1500], gold[:1500])
    table, scores = calibration.columns(logits[1500:], correct[1500:], temperature)
    assert scores["ece_calibrated"] < 4 < scores["ece"] and scores["temperature"] == temperature
    assert scores["ece"] == calibration.ece(table["confidence"], table["correct"])
    assert set(table["correct"]) == {0, 1} and list(table) == ["confidence", "calibrated", "correct"]
    assert np.array_equal(table["confidence"], table["confidence"].round(6))
