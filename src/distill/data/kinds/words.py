"""Texts whose words have tags: task token_classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config.params import Params
from distill.data.features import preparation
from distill.data.features.preparation import Report
from distill.data.sources import tagged_texts
from distill.data.sources.squad_json import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Words:
    """Rows of `data.sources.tagged_texts`."""

    noun = "texts"
    files = "CoNLL (.conll, .txt, .tsv) or JSON lines"
    texts = ("text",)
    needs_each_class = False

    def classes_of(self, row: Row) -> Sequence[int]:
        """The tags of the words."""
        return row["tags"]

    def load(
        self, params: Params, paths: Mapping[str, Path], names: Mapping[str, str]
    ) -> tuple[dict[str, list[Row]], dict[str, Any]]:
        """With the names of the tags, and their scheme."""
        data = params.data
        columns = tagged_texts.Columns(data.text, data.label, data.id, data.group_column)
        tagged = (
            tagged_texts.load_hub(data.name, data.subset, data.revision, names, columns, data.labels)
            if data.source == "hub"
            else tagged_texts.load_files(paths, columns, data.labels)
        )
        return tagged.rows, {"labels": list(tagged.classes), "scheme": tagged.scheme, "pairs": False}

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
        """Overlapping windows of long texts."""
        features = params.features
        lengths = features.max_length, features.doc_stride
        return preparation.write_words(folder, splits, tokenizer, *lengths, meta, on_batch, readers)


KIND = Words()
