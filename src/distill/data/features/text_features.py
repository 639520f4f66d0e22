"""Texts and pairs of texts -> features: one row of tokens each, cut at the longest length."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from distill.data.loading.template import Template, parameters_of
from distill.data.sources.squad_json import Row
from distill.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def schema(
    tokenizer: PreTrainedTokenizerFast, numeric: bool, classes: int | None = None, grouped: bool = False
) -> pa.Schema:
    """Columns of the features; single numbers are int32.

    No padding is stored: every list in a row has `length` entries.

    - input_ids: list<int32>; token_type_ids: list<int8>, only if the tokenizer makes them.
    - length; example_index: the example's row.
    - labels: the class's number, int64, or for regression (`numeric`) the value, float32; -100 or NaN without a label.
      With `classes`, of which a row may have several: as many float32, 1 for each class that it has, else 0; all NaN
      without a label.
    - of passages of queries (`grouped`) group: the number of the query in its split; passage: list<int8>, 1 at the
      passage's tokens.
    """
    columns = [("input_ids", pa.list_(pa.int32()))]
    if "token_type_ids" in tokenizer.model_input_names:
        columns.append(("token_type_ids", pa.list_(pa.int8())))
    columns += [("length", pa.int32()), ("example_index", pa.int32())]
    single = pa.float32() if numeric else pa.int64()
    columns.append(("labels", single if classes is None else pa.list_(pa.float32(), classes)))
    return pa.schema([*columns, *([("group", pa.int32()), ("passage", pa.list_(pa.int8()))] if grouped else [])])


def encode(
    rows: list[Row],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    numeric: bool,
    batch_size: int = 1000,
    classes: int | None = None,
    grouped: bool = False,
) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Encodes texts into features.

    A text is cut at its end; of a pair, tokens are dropped one by one from the end of the longer text.

    Args:
        rows: texts (`distill.data.sources.text_sets`).
        tokenizer: any fast tokenizer; its state is left alone.
        max_length: most tokens in a feature, special tokens included.
        numeric: labels are numbers (regression).
        batch_size: texts per batch; bounds the memory, changes no feature.
        classes: number of classes of which a row may have several; None: a row has one label.
        grouped: rows are passages of queries (`distill.data.sources.passage_sets`).

    Yields:
        (one batch per `batch_size` texts in the rows' order with the columns of `schema`, how many of them were cut)

    Raises:
        UserError: `max_length` leaves no room for two tokens beside the special ones, or the tokenizer does not put its
            cls token in front, or nothing between two texts.
    """
    pair = any(row["text_pair"] is not None for row in rows[:1])
    _check_template(tokenizer, pair)
    special = tokenizer.num_special_tokens_to_add(pair=pair)
    if max_length < special + 2:
        raise UserError(
            f"features.max_length = {max_length}: {special} special tokens leave no room for two of a text; raise it to"
            f" {special + 2} or more"
        )
    encoder = Tokenizer.from_str(json.dumps(json.loads(tokenizer.backend_tokenizer.to_str()) | {"padding": None}))
    encoder.enable_truncation(max_length, strategy="longest_first")
    columns = schema(tokenizer, numeric, classes, grouped)
    groups = _groups(rows) if grouped else None
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        texts = [(row["text"], row["text_pair"]) if pair else row["text"] for row in part]
        encodings = encoder.encode_batch_fast(texts)  # "fast" leaves out the offsets
        lengths = np.array([len(item) for item in encodings], np.int32)
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        arrays = {
            "input_ids": _flat(offsets, [item.ids for item in encodings], np.int32),
            "length": pa.array(lengths),
            "example_index": pa.array(np.arange(start, start + len(part), dtype=np.int32)),
            "labels": _labels(part, columns.field("labels").type, classes),
        }
        if "token_type_ids" in columns.names:
            arrays["token_type_ids"] = _flat(offsets, [item.type_ids for item in encodings], np.int8)
        if grouped:
            arrays["group"] = pa.array(groups[start : start + len(part)])
            passages = [[number == 1 for number in item.sequence_ids] for item in encodings]
            arrays["passage"] = _flat(offsets, passages, np.int8)
        batch = pa.RecordBatch.from_arrays([arrays[name] for name in columns.names], schema=columns)
        yield batch, sum(bool(item.overflowing) for item in encodings)


def _check_template(tokenizer: PreTrainedTokenizerFast, pair: bool) -> None:
    """A head reads the state of the first token, which must be one that no text has."""
    template, where = Template(tokenizer, pair), parameters_of(tokenizer)
    if template.cls is None or template.cls >= template.sizes[0]:
        raise UserError(
            f"{where}: puts no cls token ({tokenizer.cls_token}) in front of a text, where the heads of"
            " classification and regression read: name the tokenizer of a BERT-like encoder (a tokenizer.json with a"
            " post_processor that adds it)"
        )
    if not all(template.sizes[1:-1]):
        raise UserError(
            f"{where}: puts no separator between two texts, which a model cannot tell apart then: name the"
            " tokenizer of a BERT-like encoder (a tokenizer.json with a post_processor that adds it)"
        )


def _labels(rows: list[Row], kind: pa.DataType, classes: int | None) -> pa.Array:
    if classes is None:
        return pa.array([row["label"] for row in rows], kind)
    values = np.zeros((len(rows), classes), np.float32)
    for target, row in zip(values, rows, strict=True):
        target[slice(None) if row["label"] is None else row["label"]] = np.nan if row["label"] is None else 1.0
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), type=kind)


def _groups(rows: list[Row]) -> np.ndarray:
    """The number of each row's query, from 0, int32; rows of a query are neighbours."""
    queries = [row["query"] for row in rows]
    begins = [number > 0 and query != queries[number - 1] for number, query in enumerate(queries)]
    return np.cumsum(begins, dtype=np.int32)


def _flat(offsets: pa.Array, values: list[list[int]], kind: type) -> pa.Array:
    return pa.ListArray.from_arrays(offsets, pa.array(np.concatenate([np.asarray(row, kind) for row in values])))
