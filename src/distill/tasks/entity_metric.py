"""seqeval's scores behind `evaluate.Metric`'s interface: in process, offline, in memory.

Importing `evaluate` takes seconds: import this module where a report is made, and `entities` everywhere else.
"""

import evaluate
from datasets import Sequence, Value

from distill.tasks import entities
from distill.tasks.in_memory import InMemoryMetric, PlainFeatures

_INPUTS = """
Args:
    predictions, references: tags of each text, list of texts.
    scheme: IO, IOB1, IOB2, IOBES or BILOU.
Returns:
    precision, recall, f1 (strict), default_precision, default_recall, default_f1, accuracy (times 100).
"""


class EntityScores(InMemoryMetric):
    """`entities.scores` as `evaluate.Metric`, with the input format of the Hub's `seqeval`.

    Example:
        >>> tags = [["B-PER", "I-PER", "O"]]
        >>> EntityScores().compute(predictions=tags, references=tags, scheme="IOB2")["f1"]
        100.0
    """

    def _info(self) -> evaluate.MetricInfo:
        tags = Sequence(Value("string"))
        return evaluate.MetricInfo(
            description="Entity precision, recall and F1 of seqeval, strict and default, and accuracy of words.",
            citation="Nakayama 2018, https://github.com/chakki-works/seqeval",
            inputs_description=_INPUTS,
            features=PlainFeatures({"predictions": tags, "references": tags}),
        )

    def _compute(self, predictions: list[list[str]], references: list[list[str]], scheme: str) -> dict[str, float]:
        return entities.scores(references, predictions, scheme)
