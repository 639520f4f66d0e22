"""How good a model's confidence in its answers is: Brier score, log-loss, and intervals of the calibration error.

Both scores are of the event "the answer is right", whose probability the model gives as its confidence c:

    Brier (1950):  mean (c − right)²            log-loss:  − mean log(c if right, else 1 − c)

They are what scikit-learn's `brier_score_loss(right, c)` and `log_loss(right, c)` give. With two classes they are the
usual scores of the class itself. With more classes, and for answers to questions, they say nothing about how the
remaining probability is shared out. Lower is better; a model that says 0.5 to everything has 0.25 and 0.693.

Intervals are a bootstrap over examples, of the mean over the seeds that were run: they do not cover other seeds. The
calibration error of a resample is too large, because chance fills the bins unevenly once more; so the interval is the
bootstrap's reflected at the estimate (Davison and Hinkley 1997, section 5.2.1), not below 0. In simulations it covers 9
of 10 where there is an error, and 8 of 10 where there is none (tests/analysis/test_answer_scores.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from distill.analysis.bootstrap import Mean, draws
from distill.config.comparison import Compare
from distill.tasks.calibration import BINS, bin_of

if TYPE_CHECKING:
    import pandas as pd

#: Before and after temperature scaling: column of the tables of examples → ending of the scores' names.
COLUMNS = {"confidence": "", "calibrated": "_calibrated"}
#: Resamples are enough for two digits of an interval; a bin's sum costs more than a mean.
_MOST = 1000
# Half of the last digit that tables of examples have.
_LEAST = 5e-7


def brier(confidence: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Squared error of each confidence, 0 to 1, in the shape of both."""
    return (confidence - correct) ** 2


def log_loss(confidence: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Negative log-likelihood of each answer being right or wrong, in nats, in the shape of both."""
    sure = np.clip(confidence, _LEAST, 1 - _LEAST)
    return -np.log(np.where(correct > 0, sure, 1 - sure))


class Ece:
    """`distill.tasks.calibration.ece` of several runs, as a `bootstrap.Score`.

    Args:
        confidence, correct: (runs, n), 0 to 1.
    """

    def __init__(self, confidence: np.ndarray, correct: np.ndarray):
        from scipy.sparse import csr_array

        runs, self.examples = confidence.shape
        run, example = (x.ravel() for x in np.indices(confidence.shape))
        place = run * BINS + bin_of(confidence).ravel()
        self._gaps = csr_array(((correct - confidence).ravel(), (place, example)), shape=(runs * BINS, self.examples))
        self._runs = runs

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """(n, R) → (runs, R), 0 to 100."""
        gaps = np.abs(self._gaps @ counts).reshape(self._runs, BINS, -1)
        return 100.0 * gaps.sum(1) / counts.sum(0)


def of(
    tables: Mapping[int | None, pd.DataFrame], settings: Compare, groups: np.ndarray | None = None
) -> dict[str, float]:
    """Scores of a model's confidence: means over its seeds, with the ends of their intervals.

    Args:
        tables: tables of examples by seed, with confidence, calibrated and correct.
        groups: group of each example, (n,), which are resampled together.

    Returns:
        answer_brier (0–1) and answer_log_loss (nats), each also with _calibrated, after temperature scaling; and of
        these four and of ece and ece_calibrated: …_low, …_high.
    """
    correct = np.array([table["correct"] for table in tables.values()], float)
    scores = {}
    for column, end in COLUMNS.items():
        confidence = np.array([table[column] for table in tables.values()], float)
        scores[f"answer_brier{end}"] = Mean(brier(confidence, correct))
        scores[f"answer_log_loss{end}"] = Mean(log_loss(confidence, correct))
        scores[f"ece{end}"] = Ece(confidence, correct)
    whole = {name: float(score(np.ones((score.examples, 1))).mean()) for name, score in scores.items()}
    parts = [
        {name: score(counts).mean(0) for name, score in scores.items()}
        for counts in draws(correct.shape[1], min(settings.resamples, _MOST), settings.seed, groups)
    ]
    found = {name: value for name, value in whole.items() if not name.startswith("ece")}
    tail = (1 - settings.confidence) / 2
    for name, value in whole.items():
        low, high = np.quantile(np.concatenate([part[name] for part in parts]), [tail, 1 - tail])
        if name.startswith("ece"):
            low, high = max(0.0, 2 * value - high), max(0.0, 2 * value - low)
        found |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    return found
