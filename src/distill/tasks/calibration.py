"""Calibration of confidence, before and after temperature scaling (Guo et al. 2017, arXiv 1706.04599).

Logits are (rows, K), float64: of the K classes, or the scores of the K answers that a question might have (its n-best
spans and, in SQuAD v2.0, no answer); −∞ where there are fewer. Confidence is the largest share in the softmax of
logits / T. T does not change answers.

Where a row has several classes, each true or not (`…_of_labels`), logits are log-odds (rows, C), and confidence is that
in all decisions of the row at once: the product of max(p, 1 − p) with p = sigmoid(logits / T).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: Bounds of the search for T.
TEMPERATURES = (0.05, 20.0)
BINS = 10


def confidence(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """(rows,), 0 to 1: the share of the largest logit; 0 where a row has none."""
    total = np.exp(_below_top(logits) / temperature).sum(1)
    return np.divide(1.0, total, out=np.zeros(len(logits)), where=total > 0)


def temperature_of_classes(logits: np.ndarray, gold: np.ndarray) -> float:
    """T with the lowest negative log-likelihood of the gold classes (rows,), numbers from 0; see `TEMPERATURES`."""
    from scipy.special import logsumexp

    gold_logits = logits[np.arange(len(gold)), gold]

    def loss(temperature: float) -> float:
        return float((logsumexp(logits / temperature, axis=1) - gold_logits / temperature).mean())

    return _lowest(loss)


def temperature_of_answers(logits: np.ndarray, correct: np.ndarray) -> float:
    """T with the lowest negative log-likelihood of `correct` (rows,), 0 or 1, under the confidence in the answers.

    The gold answer need not be among the K, and different spans may be equally right: what is fitted is the confidence
    itself. Rows with fewer than two answers to choose from do not count: T changes nothing there. 1 without any other.
    """
    from scipy.special import logsumexp

    gaps = _below_top(logits)
    gaps[np.arange(len(gaps)), logits.argmax(1)] = -np.inf
    rows = np.isfinite(gaps).any(1)
    if not rows.any():
        return 1.0
    gaps, sign = gaps[rows], np.where(correct[rows] > 0, 1.0, -1.0)

    def loss(temperature: float) -> float:
        # −log(odds) of the answer; in logs, so that a sure answer that is wrong costs a finite amount.
        against = logsumexp(gaps / temperature, axis=1)
        return float(np.logaddexp(0, sign * against).mean())

    return _lowest(loss)


def temperature_of_labels(logits: np.ndarray, gold: np.ndarray) -> float:
    """T with the lowest mean binary cross-entropy of all decisions; log-odds and bool, both (rows, C)."""
    against = np.where(gold, -logits, logits)

    def loss(temperature: float) -> float:
        return float(np.logaddexp(0, against / temperature).mean())

    return _lowest(loss)


def columns_of_labels(logits: np.ndarray, correct: np.ndarray, temperature: float) -> tuple[dict, dict]:
    """`columns` of log-odds (rows, C); `correct`: whether every decision of a row is right, (rows,)."""
    margin = np.abs(logits)
    before, after = (np.exp(-np.logaddexp(0, -margin / t).sum(1)) for t in (1.0, temperature))
    return _columns(before, after, correct, temperature)


def bin_of(confidence: np.ndarray) -> np.ndarray:
    """Which of `BINS` equally wide bins each confidence falls into, (rows,) from 0; an edge is in the bin below."""
    return np.digitize(confidence, np.linspace(0, 1, BINS + 1)[1:-1], right=True)


def ece(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Expected calibration error, 0–100 (Naeini et al. 2015): mean over rows of their bin's |accuracy − confidence|."""
    bins = bin_of(confidence)
    gaps = np.bincount(bins, weights=correct, minlength=BINS) - np.bincount(bins, weights=confidence, minlength=BINS)
    return 100.0 * float(np.abs(gaps).sum() / len(confidence))


def columns(logits: np.ndarray, correct: np.ndarray, temperature: float) -> tuple[dict, dict]:
    """Calibration in a report: columns and scores.

    Args:
        logits: logits of the reported split.
        correct: (rows,), 0 or 1.
        temperature: T, fitted on another split.

    Returns:
        (columns of the table of examples: confidence and calibrated, rounded to 6 digits, correct;
        scores: temperature, ece, ece_calibrated)
    """
    return _columns(confidence(logits), confidence(logits, temperature), correct, temperature)


def _columns(before: np.ndarray, after: np.ndarray, correct: np.ndarray, temperature: float) -> tuple[dict, dict]:
    before, after = before.round(6), after.round(6)
    table = {"confidence": before, "calibrated": after, "correct": np.asarray(correct, np.int64)}
    scores = {"temperature": temperature, "ece": ece(before, correct), "ece_calibrated": ece(after, correct)}
    return table, scores


def _below_top(logits: np.ndarray) -> np.ndarray:
    """logits − each row's largest; −∞ stays."""
    top = logits.max(1, keepdims=True)
    return logits - np.where(np.isfinite(top), top, 0.0)


def _lowest(loss: Callable[[float], float]) -> float:
    from scipy.optimize import minimize_scalar

    low, high = np.log(TEMPERATURES)
    optimum = minimize_scalar(lambda power: loss(np.exp(power)), bounds=(low, high), method="bounded")
    return float(np.exp(optimum.x))
