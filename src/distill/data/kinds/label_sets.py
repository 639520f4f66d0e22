"""Single texts and pairs of texts with any number of classes: task multi_label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config.params import Params
from distill.data.features import preparation
from distill.data.features.preparation import Report
from distill.data.sources import label_sets, text_sets
from distill.data.sources.squad_json import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class LabelSets:
    """Rows of `data.sources.text_sets` whose label is a list of classes (`data.sources.label_sets`)."""

    noun = "rows"
    files = "JSON lines, TSV or CSV"
    texts = ("text", "text_pair")
    # A class without a row is learnt as one that is never true; `write` warns of it.
    needs_each_class = False

    def classes_of(self, row: Row) -> Sequence[int]:
        """All of them, perhaps none."""
        return row["label"]

    def load(
        self, params: Params, paths: Mapping[str, Path], names: Mapping[str, str]
    ) -> tuple[dict[str, list[Row]], dict[str, Any]]:
        """With the names of the classes."""
        data = params.data
        names_of = (data.text, data.text_pair, data.label, data.id)
        columns = text_sets.Columns(
            *names_of,
            numeric=False,
            strip_html=data.strip_html,
            group=data.group_column,
            separator=data.label_separator,
        )
        rows, classes = (
            text_sets.load_hub(data.name, data.subset, data.revision, names, columns, data.labels)
            if data.source == "hub"
            else text_sets.load_files(paths, columns, data.labels)
        )
        return rows, {"labels": list(classes), "pairs": data.text_pair is not None, "strip_html": data.strip_html}

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
        if params.data.has_labels and (missing := label_sets.untaught(splits["train"], meta["labels"])):
            shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5:,} more" if len(missing) > 5 else "")
            print(
                f"\n  WARNING: no training row has class {shown}: models learn that it is never true: add examples,"
                " raise data.max_train_examples, or lower data.selection_fraction\n",
                flush=True,
            )
        length, classes = params.features.max_length, len(meta["labels"])
        return preparation.write_texts(
            folder, splits, tokenizer, length, False, meta, on_batch, readers, classes=classes
        )


KIND = LabelSets()
