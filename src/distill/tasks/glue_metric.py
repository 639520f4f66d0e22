"""GLUE's scores behind `evaluate.Metric`'s interface: in process, offline, in memory.

Importing `evaluate` takes seconds: import this module where a report is made, and `glue` everywhere else.
"""

import evaluate
import numpy as np
from datasets import Value

from distill.tasks import glue
from distill.tasks.in_memory import InMemoryMetric, PlainFeatures

_CITATION = "Wang et al. 2019, arXiv 1804.07461"


def _info(description: str, inputs: str, dtype: str) -> evaluate.MetricInfo:
    return evaluate.MetricInfo(
        description=description,
        citation=_CITATION,
        inputs_description=inputs,
        features=PlainFeatures({"predictions": Value(dtype), "references": Value(dtype)}),
    )


class ClassificationScores(InMemoryMetric):
    """`glue.classification` as `evaluate.Metric`.

    Example:
        >>> ClassificationScores().compute(predictions=[0, 1, 1], references=[0, 1, 0], classes=2)["f1"]
        66.66666666666667
    """

    def _info(self) -> evaluate.MetricInfo:
        inputs = """
Args:
    predictions, references: class numbers, int.
    classes: number of classes.
Returns:
    accuracy, f1, mcc, macro_f1 (times 100).
"""
        return _info("Accuracy, F1 and Matthews correlation, as GLUE defines them.", inputs, "int64")

    def _compute(self, predictions: list[int], references: list[int], classes: int) -> dict[str, float]:
        return glue.classification(np.array(predictions), np.array(references), classes)


class RegressionScores(InMemoryMetric):
    """`glue.regression` as `evaluate.Metric`. Numbers are float64 on the way, in which float32 has its place exactly.

    Example:
        >>> RegressionScores().compute(predictions=[0.0, 1.0], references=[1.0, 2.0])
        {'pearson': 100.0, 'spearman': 100.0, 'mse': 1.0}
    """

    def _info(self) -> evaluate.MetricInfo:
        inputs = """
Args:
    predictions, references: numbers.
Returns:
    pearson, spearman (times 100), mse.
"""
        return _info("Pearson and Spearman correlation and squared error, as for STS-B of GLUE.", inputs, "float64")

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        # Lists: in the data set's own format "numpy", float64 would come back as float32.
        return glue.regression(np.array(predictions, np.float64), np.array(references, np.float64))
