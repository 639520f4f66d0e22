"""Queries with passages to be put in order: task ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config.params import Params
from distill.data.features import preparation
from distill.data.features.preparation import Report
from distill.data.loading.prepared import TRANSFER
from distill.data.sources import passage_sets, query_groups, text_sets
from distill.data.sources.squad_json import Row
from distill.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Passages:
    """Rows of `data.sources.passage_sets`."""

    noun = "pairs of query and passage"
    files = "JSON lines, TSV or CSV"
    texts = ("text", "text_pair")
    needs_each_class = False

    def classes_of(self, row: Row) -> Sequence[int]:
        """None: a passage has a relevance."""
        return []

    def load(
        self, params: Params, paths: Mapping[str, Path], names: Mapping[str, str]
    ) -> tuple[dict[str, list[Row]], dict[str, Any]]:
        """Without classes; with the most passages of a query that are trained on."""
        data = params.data
        group = data.group_column
        columns = text_sets.Columns(data.text, data.text_pair, data.label, data.id, True, data.strip_html, group)
        rows = (
            passage_sets.load_hub(data.name, data.subset, data.revision, names, columns)
            if data.source == "hub"
            else passage_sets.load_files(paths, columns)
        )
        found = {"labels": [], "pairs": True, "strip_html": data.strip_html, "max_passages": data.max_passages}
        return rows, found

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
        """A row of tokens for each pair; of what is trained on, the groups that teach, cut to `data.max_passages`.

        Raises:
            UserError: there is nothing to learn from.
        """
        most, seed, splits = params.data.max_passages, params.data.seed, dict(splits)
        for split, choose in (("train", query_groups.teaching), (TRANSFER, query_groups.taught)):
            if not splits.get(split):
                continue
            splits[split], counts = choose(splits[split], most, seed)
            groups = len({row["query"] for row in splits[split]})
            print(f"  {split}: {query_groups.line(counts, groups, most)}", flush=True)
            if not groups:
                raise UserError(
                    f"{split} split: queries: none has passages that can be put in order: add passages to them"
                )
        length = params.features.max_length
        return preparation.write_texts(folder, splits, tokenizer, length, True, meta, on_batch, readers, grouped=True)


KIND = Passages()
