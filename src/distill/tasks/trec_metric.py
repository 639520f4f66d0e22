"""trec_eval's scores behind `evaluate.Metric`'s interface: in process, offline, in memory.

Importing `evaluate` takes seconds: import this module where a report is made, and `trec` everywhere else.
"""

import evaluate
from datasets import Sequence, Value

from distill.tasks import trec
from distill.tasks.in_memory import InMemoryMetric, PlainFeatures


class RankingScores(InMemoryMetric):
    """`trec.scores` as `evaluate.Metric`.

    Example:
        >>> RankingScores().compute(
        ...     predictions=[{"query": "1", "passages": ["a", "b"], "scores": [0.5, 0.9]}],
        ...     references=[{"query": "1", "passages": ["a", "b"], "relevance": [1, 0]}],
        ... )["mrr_10"]
        50.0
    """

    def _info(self) -> evaluate.MetricInfo:
        shared = {"query": Value("string"), "passages": Sequence(Value("string"))}
        return evaluate.MetricInfo(
            description="nDCG@10, MRR@10, MAP and recall, by trec_eval.",
            citation="https://github.com/usnistgov/trec_eval; Van Gysel and de Rijke 2018, arXiv 1805.01597",
            inputs_description="""
Args:
    predictions: for each query its id, the ids of its passages, and their scores.
    references: for the same queries their ids, the ids of the passages, and their relevance.
Returns:
    ndcg_10, mrr_10, map, recall_1, recall_5, recall_10 (times 100).
""",
            features=PlainFeatures(
                {
                    "predictions": shared | {"scores": Sequence(Value("float64"))},
                    "references": shared | {"relevance": Sequence(Value("int64"))},
                }
            ),
        )

    def _compute(self, predictions: list[dict], references: list[dict]) -> dict[str, float]:
        return trec.scores(predictions, references)
