"""Brier score and log-loss against scikit-learn, the calibration error on resamples, and how often intervals cover."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from distill.analysis import answer_scores
from distill.analysis.bootstrap import draws
from distill.config.comparison import Compare
from distill.tasks.calibration import ece

SETTINGS = Compare(baseline="ft", also=[], baseline_seeds=[], resamples=400, confidence=0.95, seed=5)


def table(generator, rows=300, sharpness=1.0):
    """Answers whose confidence is right where `sharpness` is 1, too high above it."""
    odds = np.abs(generator.normal(0, 1.5, rows))
    right = generator.random(rows) < 1 / (1 + np.exp(-odds))
    sure = {name: 1 / (1 + np.exp(-odds * by)) for name, by in (("confidence", sharpness), ("calibrated", 1.0))}
    return pd.DataFrame({name: values.round(6) for name, values in sure.items()} | {"correct": right.astype(int)})


def test_scores_are_scikit_learns_means_over_seeds():
    generator = np.random.default_rng(0)
    seeds = {1: table(generator, sharpness=2.0), 2: table(generator, sharpness=2.0)}
    seeds[2].loc[0, ["confidence", "correct"]] = [1.0, 0]  # sure and wrong: a finite loss
    found = answer_scores.of(seeds, SETTINGS)
    for column, end in (("confidence", ""), ("calibrated", "_calibrated")):
        for name, reference in (("answer_brier", brier_score_loss), ("answer_log_loss", log_loss)):
            expected = [
                reference(rows["correct"], rows[column].clip(5e-7, 1 - 5e-7 if "log" in name else 1))
                for rows in seeds.values()
            ]
            assert found[f"{name}{end}"] == pytest.approx(np.mean(expected), rel=1e-6)
    for name in ("ece", "ece_calibrated", "answer_brier", "answer_log_loss"):
        assert 0 <= found[f"{name}_low"] < found[f"{name}_high"]
    assert found["answer_log_loss_calibrated"] < found["answer_log_loss"]


def test_with_two_classes_they_are_the_scores_of_the_class():
    """p is the probability of class 1; the answer is the likelier class."""
    generator = np.random.default_rng(1)
    p, gold = generator.uniform(0.01, 0.99, 500), generator.integers(0, 2, 500)
    sure, right = np.maximum(p, 1 - p), (p > 0.5) == gold
    assert answer_scores.brier(sure, right).mean() == pytest.approx(brier_score_loss(gold, p))
    assert answer_scores.log_loss(sure, right).mean() == pytest.approx(log_loss(gold, p))


def test_the_calibration_error_on_resamples_is_that_of_the_drawn_rows():
    generator = np.random.default_rng(2)
    tables = [table(generator, 80, 2.0) for _ in range(3)]
    sure, right = (np.array([rows[name] for rows in tables], float) for name in ("confidence", "correct"))
    groups = generator.integers(0, 20, 80)
    for counts in (next(draws(80, 9, 1)), next(draws(80, 9, 1, groups))):
        found = answer_scores.Ece(sure, right)(counts)
        for r in range(counts.shape[1]):
            drawn = np.repeat(np.arange(80), counts[:, r].astype(int))
            expected = [ece(sure[run, drawn], right[run, drawn]) for run in range(3)]
            assert found[:, r] == pytest.approx(expected)


def test_intervals_of_the_calibration_error_cover_it():
    """True: with two million answers. What is reflected covers 9 of 10 or more; where the error is 0, fewer."""
    generator = np.random.default_rng(3)
    many = table(generator, 2_000_000, 2.0)
    true = ece(many["confidence"].to_numpy(), many["correct"].to_numpy())
    settings = SETTINGS.model_copy(update={"resamples": 200})
    found = [answer_scores.of({1: table(generator, 600, 2.0)}, settings) for _ in range(120)]
    assert np.mean([row["ece_low"] <= true <= row["ece_high"] for row in found]) >= 0.87
    assert np.mean([row["ece_calibrated_low"] == 0 for row in found]) >= 0.6


def test_groups_widen_the_intervals():
    """Each answer three times over."""
    rows = pd.concat([table(np.random.default_rng(4), 100, 2.0)] * 3, ignore_index=True)
    groups = np.tile(np.arange(100), 3)
    alone, together = (answer_scores.of({1: rows}, SETTINGS, by) for by in (None, groups))
    for name in ("ece", "answer_brier"):
        wide, narrow = (found[f"{name}_high"] - found[f"{name}_low"] for found in (together, alone))
        assert wide > 1.4 * narrow
