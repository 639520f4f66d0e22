"""Scores of classification and regression, as GLUE defines them (Wang et al. 2019, arXiv 1804.07461), 0–100.

GLUE's own code calls scikit-learn and scipy, and so does this; both are imported where they are used, because they
take a second.
"""

from __future__ import annotations

import warnings

import numpy as np


def classification(predicted: np.ndarray, gold: np.ndarray, classes: int) -> dict[str, float]:
    """Accuracy, F1, macro F1 and Matthews correlation.

    Args:
        predicted, gold: class numbers, int, (rows,); at least one row.
        classes: number of classes.

    Returns:
        accuracy; f1: with two classes that of class 1 (GLUE's MRPC and QQP), with more the mean of all classes' F1
        (macro), 0 for a class that is neither gold nor predicted; mcc: Matthews correlation (GLUE's CoLA), from -100
        to 100, 0 where all gold classes or all predicted classes are the same; macro_f1: mean of all classes' F1, with
        two classes too.
    """
    from sklearn.metrics import f1_score, matthews_corrcoef

    macro = f1_score(gold, predicted, zero_division=0.0, average="macro", labels=list(range(classes)))
    f1 = f1_score(gold, predicted, zero_division=0.0, pos_label=1) if classes == 2 else macro
    return {
        "accuracy": 100.0 * float(np.mean(predicted == gold)),
        "f1": 100.0 * float(f1),
        "mcc": 100.0 * float(matthews_corrcoef(gold, predicted)),
        "macro_f1": 100.0 * float(macro),
    }


def regression(predicted: np.ndarray, gold: np.ndarray) -> dict[str, float]:
    """Correlations and squared error (GLUE's STS-B).

    Args:
        predicted, gold: float, (rows,); at least one row.

    Returns:
        pearson and spearman, from -100 to 100 (equal values share their mean rank), 0 where they do not exist: one
        row, or equal values everywhere on a side; mse: mean squared error in the labels' own unit.
    """
    from scipy import stats

    predicted, gold = predicted.astype(np.float64), gold.astype(np.float64)
    scores = {"pearson": 0.0, "spearman": 0.0}
    if np.ptp(predicted) > 0 and np.ptp(gold) > 0:
        with warnings.catch_warnings():
            # Nearly constant values give a correlation of little worth, or nan, which is taken care of below.
            warnings.simplefilter("ignore")
            correlations = {"pearson": stats.pearsonr(predicted, gold), "spearman": stats.spearmanr(predicted, gold)}
        scores = {name: 100.0 * float(np.nan_to_num(result.statistic)) for name, result in correlations.items()}
    return scores | {"mse": float(np.mean((predicted - gold) ** 2))}
