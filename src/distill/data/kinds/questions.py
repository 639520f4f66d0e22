"""Questions on contexts: task qa."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config.params import Params
from distill.data.features import preparation
from distill.data.features.preparation import Report
from distill.data.sources import question_sets
from distill.data.sources.squad_json import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Questions:
    """SQuAD v1.1 and v2.0."""

    noun = "questions"
    files = "SQuAD JSON"
    texts = ("context", "question")
    needs_each_class = True

    def classes_of(self, row: Row) -> Sequence[int]:
        """None."""
        return ()

    def load(
        self, params: Params, paths: Mapping[str, Path], names: Mapping[str, str]
    ) -> tuple[dict[str, list[Row]], dict[str, Any]]:
        """Rows of `data.sources.squad_json`; no classes."""
        data = params.data
        hub = (data.name, data.subset, data.revision)
        rows = question_sets.load(data.source, paths, *hub, names, data.version_2_with_negative)
        return rows, {"version_2": data.version_2_with_negative, "labels": [], "pairs": True}

    def write(
        self,
        folder: Path,
        splits: dict[str, list[Row]],
        tokenizer: PreTrainedTokenizerFast,
        params: Params,
        meta: dict[str, Any],
        on_batch: Report,
        readers: Mapping[str, PreTrainedTokenizerFast],
    ) -> dict[str, Any]:
        """Overlapping windows of long contexts."""
        features = params.features
        return preparation.write(
            folder, splits, tokenizer, features.max_length, features.doc_stride, meta, on_batch, readers
        )


KIND = Questions()
