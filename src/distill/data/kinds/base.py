"""What a kind of data is: how stage prepare reads its rows, and how it writes them. Several tasks may share one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from distill.config.params import Params
from distill.data.features.preparation import Report
from distill.data.sources.squad_json import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Kind(Protocol):
    """A kind of data; a file of this folder each. Rows are dicts, all of a split with the same keys, `id` among them.

    A text, where a row has one, is `text`, and `text_pair` a second one or None: `data.sources.overlap` compares these.
    """

    #: What rows are called, in the plural.
    noun: str
    #: What files are called: "name a … file".
    files: str
    #: The keys of a row that hold text: a tokenizer without a path is trained on them. A value may be None.
    texts: tuple[str, ...]
    #: Whether every class needs a training row: tags have classes that no text happens to hold.
    needs_each_class: bool

    def classes_of(self, row: Row) -> Sequence[int]:
        """Numbers of the classes of a row with a label; unused where there are no classes."""

    def load(
        self, params: Params, paths: Mapping[str, Path], names: Mapping[str, str]
    ) -> tuple[dict[str, list[Row]], dict[str, Any]]:
        """Reads and checks all rows.

        Args:
            paths: file of each split; unused by source hub.
            names: name of each split on the hub, by its name here.

        Returns:
            (rows by split, fields of meta.json that describe the task: `labels`, the names of the classes in order,
            empty where there are none, `pairs`, and others)

        Raises:
            UserError: anything wrong with a row: one line with file, place, value and fix.
        """

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
        """Writes examples, features, tokenizers and meta.json; arguments and result as `features.preparation.write`."""
