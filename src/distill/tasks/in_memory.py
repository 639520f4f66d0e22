"""What this project's metrics share: `evaluate.Metric` in process, offline, without files.

Importing `evaluate` takes seconds, so only the scoring of stage evaluate imports this module.
"""

import tempfile
from typing import Any

import evaluate
from datasets import Features


class InMemoryMetric(evaluate.Metric):
    """A metric that is constructed here, not loaded, and keeps its inputs in memory.

    Subclasses define `_info` and `_compute`, as for every `evaluate.Metric`.
    """

    def __init__(self, config_name: str | None = None, **kwargs: Any) -> None:
        """
        Args:
            config_name: variant of the metric; None where there is one only.
            **kwargs: as for `evaluate.Metric`; keep_in_memory is true by default.
        """
        if kwargs.setdefault("keep_in_memory", True) and "cache_dir" not in kwargs:
            # evaluate creates a cache folder even with keep_in_memory: not in the home folder.
            with tempfile.TemporaryDirectory() as folder:
                super().__init__(config_name, cache_dir=folder, **kwargs)
        else:
            super().__init__(config_name, **kwargs)


class PlainFeatures(Features):
    """Features whose values are plain Python values or arrays already.

    `Features` encodes each value in Python, field by field: for 12,000 questions that takes longer than the scores.
    Arrow still checks the types.
    """

    def encode_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch as it is."""
        return batch
