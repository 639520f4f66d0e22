"""The scores of several classes per row behind `evaluate.Metric`'s interface: in process, offline, in memory.

Importing `evaluate` takes seconds: import this module where a report is made, and `label_set_scores` everywhere else.
"""

import evaluate
import numpy as np
from datasets import Sequence, Value

from distill.tasks import label_set_scores
from distill.tasks.in_memory import InMemoryMetric, PlainFeatures

_INPUTS = """
Args:
    predictions, references: for each row a list of C numbers, 1 for each class that it has, else 0.
    scores: for each row C numbers by which rows are ranked for a class, higher is likelier; None: no average precision.
Returns:
    micro_f1, macro_f1, example_f1, subset_accuracy, hamming_loss and, with scores, micro_ap, macro_ap (times 100).
"""


class MultiLabelScores(InMemoryMetric):
    """`label_set_scores` as `evaluate.Metric`, in the format of the Hub's `f1`, configuration `multilabel`.

    Example:
        >>> MultiLabelScores().compute(predictions=[[1, 0], [1, 1]], references=[[1, 0], [0, 1]])["micro_f1"]
        80.0
    """

    def _info(self) -> evaluate.MetricInfo:
        row = Sequence(Value("int64"))
        return evaluate.MetricInfo(
            description="F1, average precision, subset accuracy and Hamming loss of several classes per row.",
            citation="Pedregosa et al. 2011, JMLR 12 (scikit-learn)",
            inputs_description=_INPUTS,
            features=PlainFeatures({"predictions": row, "references": row}),
        )

    def _compute(
        self, predictions: list[list[int]], references: list[list[int]], scores: np.ndarray | None = None
    ) -> dict[str, float]:
        said, gold = np.array(predictions, bool), np.array(references, bool)
        found = label_set_scores.of_sets(said, gold)
        return found if scores is None else found | label_set_scores.average_precision(np.asarray(scores), gold)
