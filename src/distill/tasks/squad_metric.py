"""The SQuAD metrics behind `evaluate.Metric`'s interface: in process, offline, in memory.

Importing `evaluate` takes seconds: import this module where a report is made, and `squad` everywhere else.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import evaluate
from datasets import Sequence, Value

from distill.errors import UserError
from distill.tasks.in_memory import InMemoryMetric, PlainFeatures
from distill.tasks.squad import scores

_DESCRIPTION = "SQuAD v1.1 and v2.0 exact match and F1, equal to the official evaluators."
_CITATION = "Rajpurkar et al. 2016, arXiv 1606.05250; Rajpurkar et al. 2018, arXiv 1806.03822"
_INPUTS = """
Args:
    predictions: list of dicts: id, prediction_text, for v2 also no_answer_probability (any number).
    references: list of dicts: id, answers = {"text": [...], "answer_start": [...]}.
    no_answer_threshold: v2 only; a text with a no_answer_probability above it counts as no answer (math.inf: none).
Returns:
    v1.1: exact_match, f1. v2: exact, f1, total, HasAns_*, NoAns_*, best_* (percent).
"""


class Squad(InMemoryMetric):
    """SQuAD as `evaluate.Metric`, with the input format of the Hub's `squad` and `squad_v2`.

    no_answer_probability is float64 here (float32 there), so that thresholds keep every digit.

    Example:
        >>> squad = Squad("v1.1")
        >>> squad.compute(
        ...     predictions=[{"id": "1", "prediction_text": "Paris"}],
        ...     references=[{"id": "1", "answers": {"text": ["Paris"], "answer_start": [0]}}],
        ... )
        {'exact_match': 100.0, 'f1': 100.0}
    """

    def __init__(self, config_name: str = "v2", **kwargs: Any) -> None:
        """
        Args:
            config_name: "v1.1" or "v2".
            **kwargs: as for `evaluate.Metric`; keep_in_memory is true by default.

        Raises:
            ValueError: another config name.
        """
        if config_name not in ("v1.1", "v2"):
            raise ValueError(f"config_name is {config_name!r}: it must be 'v1.1' or 'v2'")
        super().__init__(config_name, **kwargs)

    def _info(self) -> evaluate.MetricInfo:
        prediction = {"id": Value("string"), "prediction_text": Value("string")}
        if self.config_name == "v2":
            prediction["no_answer_probability"] = Value("float64")
        answers = Sequence({"text": Value("string"), "answer_start": Value("int32")})
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=PlainFeatures(
                {
                    "predictions": prediction,
                    "references": {"id": Value("string"), "answers": answers},
                }
            ),
        )

    def _compute(
        self,
        predictions: list[dict[str, Any]],
        references: list[dict[str, Any]],
        no_answer_threshold: float = 1.0,
    ) -> dict[str, float]:
        """As on the Hub, v2 always applies the threshold and reports best_*."""
        texts = _by_id("predictions", predictions, "prediction_text")
        golds = {k: v["text"] for k, v in _by_id("references", references, "answers").items()}
        if self.config_name == "v1.1":
            return scores(texts, golds, None, version_2=False, threshold=None)
        odds = _by_id("predictions", predictions, "no_answer_probability")
        return scores(texts, golds, odds, version_2=True, threshold=no_answer_threshold)


def _by_id(name: str, rows: Iterable[Mapping[str, Any]], field: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for row in rows:
        if row["id"] in result:
            raise UserError(f"{name}: id {row['id']!r} occurs twice; give every question once")
        result[row["id"]] = row[field]
    return result
