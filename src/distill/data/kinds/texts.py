"""Single texts and pairs of texts with a class or a number: tasks classification and regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config.params import Params
from distill.data.features import preparation
from distill.data.features.preparation import Report
from distill.data.sources import text_sets
from distill.data.sources.squad_json import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Texts:
    """Rows of `data.sources.text_sets`."""

    noun = "rows"
    files = "TSV, CSV or JSON lines"
    texts = ("text", "text_pair")
    needs_each_class = True

    def classes_of(self, row: Row) -> Sequence[int]:
        """The class."""
        return (row["label"],)

    def load(
        self, params: Params, paths: Mapping[str, Path], names: Mapping[str, str]
    ) -> tuple[dict[str, list[Row]], dict[str, Any]]:
        """With the names of the classes; none for regression."""
        data = params.data
        numeric = params.task == "regression"
        columns = text_sets.Columns(
            data.text, data.text_pair, data.label, data.id, numeric, data.strip_html, data.group_column
        )
        rows, classes = (
            text_sets.load_hub(data.name, data.subset, data.revision, names, columns, data.labels)
            if data.source == "hub"
            else text_sets.load_files(paths, columns, data.labels)
        )
        pairs = data.text_pair is not None
        return rows, {"labels": list(classes), "pairs": pairs, "strip_html": data.strip_html}

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
        """A row of tokens for each text."""
        numeric, length = params.task == "regression", params.features.max_length
        return preparation.write_texts(folder, splits, tokenizer, length, numeric, meta, on_batch, readers)


KIND = Texts()
