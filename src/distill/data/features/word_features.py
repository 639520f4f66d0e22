"""Texts whose words have tags -> features: overlapping windows of tokens, and the tag of each word in one of them.

A text gives `[CLS] window of the text [SEP]` for each window; windows overlap by `doc_stride` tokens. A word stands
for itself by the first token that begins in it. Where that token is in several windows, the word belongs to the one in
which the token is farthest from the nearer edge, to the first of equal ones: there it is learnt, and its tag is read,
so that no word, and no entity, is lost or counted twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from tokenizers import Encoding, Tokenizer

from distill.data.loading.template import Template, parameters_of
from distill.data.sources.labels import UNLABELLED
from distill.data.sources.squad_json import Row, show
from distill.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

#: The label of a word that nobody has tagged, where `UNLABELLED` means that a token stands for no word.
UNTAGGED = -1


def schema(tokenizer: PreTrainedTokenizerFast) -> pa.Schema:
    """Columns of the features; single numbers are int32.

    No padding is stored: every list in a row has `length` entries.

    - input_ids: list<int32>; token_type_ids: list<int8>, only if the tokenizer makes them.
    - length; example_index: the example's row.
    - labels: list<int32>, the tag's number at the token that stands for a word of this window, -1 where nobody has
      tagged it; -100 at all other tokens.
    - words: list<int32>, the word's number in its text at these tokens, -1 at all others.
    - entity: list<bool>, tokens of words with another tag than O, also those that stand for no word.
    """
    columns = [("input_ids", pa.list_(pa.int32()))]
    if "token_type_ids" in tokenizer.model_input_names:
        columns.append(("token_type_ids", pa.list_(pa.int8())))
    columns += [("length", pa.int32()), ("example_index", pa.int32())]
    columns += [("labels", pa.list_(pa.int32())), ("words", pa.list_(pa.int32())), ("entity", pa.list_(pa.bool_()))]
    return pa.schema(columns)


@dataclass(frozen=True)
class Counts:
    """Counts of a batch: texts of several windows, and words that the tokenizer leaves no token of their own."""

    windowed: int
    silent: int


def encode(
    rows: list[Row],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    doc_stride: int,
    outside: int = 0,
    batch_size: int = 1000,
) -> Iterator[tuple[pa.RecordBatch, Counts]]:
    """Encodes texts into features.

    Args:
        rows: texts with `starts`, `ends` and `tags` (`distill.data.sources.tagged_texts`).
        tokenizer: any fast tokenizer; its state is left alone.
        max_length: most tokens in a feature, special tokens included.
        doc_stride: tokens that neighbouring windows share.
        outside: number of tag O.
        batch_size: texts per batch; bounds the memory, changes no feature.

    Yields:
        (one batch per `batch_size` texts, in the rows' order and each text's windows in theirs; its counts)

    Raises:
        UserError: `max_length` leaves no room, or the tokenizer puts no cls token in front of a text.
    """
    template = Template(tokenizer, pair=False)
    if template.cls is None or template.cls >= template.sizes[0]:
        raise UserError(
            f"{parameters_of(tokenizer)}: puts no cls token ({tokenizer.cls_token}) in front of a text: name the"
            " tokenizer of a BERT-like encoder (a tokenizer.json with a post_processor that adds it)"
        )
    room = max_length - len(template.ids)
    if room < 2:
        raise UserError(
            f"features.max_length = {max_length}: {len(template.ids)} special tokens leave no room for two of a text;"
            f" raise it to {len(template.ids) + 2} or more"
        )
    state = json.loads(tokenizer.backend_tokenizer.to_str()) | {"padding": None, "truncation": None}
    splitter = Tokenizer.from_str(json.dumps(state | {"post_processor": None}))
    columns = schema(tokenizer)
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        encodings = splitter.encode_batch([row["text"] for row in part], add_special_tokens=False)
        windows, windowed, silent = [], 0, 0
        for number, (row, encoding) in enumerate(zip(part, encodings, strict=True), start=start):
            text = _Text(row, encoding, outside)
            if len(text.ids) > room and room <= doc_stride:
                raise UserError(
                    f"text {show(row['id'])}: it has {len(text.ids)} tokens, and features.max_length = {max_length}"
                    f" leaves room for {room} in a window, which must be more than features.doc_stride = {doc_stride}"
                    " that neighbouring windows share: raise the one or lower the other"
                )
            cut = cuts(len(text.ids), room, doc_stride)
            windows += text.windows(cut, template, number)
            windowed += len(cut) > 1
            silent += len(row["starts"]) - len(text.first)
        lengths = np.array([window["length"] for window in windows], np.int32)
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        arrays = [_array([window[field.name] for window in windows], field.type, offsets) for field in columns]
        yield pa.RecordBatch.from_arrays(arrays, schema=columns), Counts(windowed, silent)


def cuts(tokens: int, room: int, doc_stride: int) -> list[tuple[int, int]]:
    """The windows over a text: first token of each, and the one after its last.

    Args:
        tokens: number of the text's tokens. room: most of them in a window. doc_stride: fewer than `room`, shared by
            neighbours.
    """
    count = 1 if tokens <= room else 1 - (room - tokens) // (room - doc_stride)
    lows = [number * (room - doc_stride) for number in range(count)]
    return [(low, min(low + room, tokens)) for low in lows]


def windows_of(places: np.ndarray, cut: list[tuple[int, int]]) -> np.ndarray:
    """The window of each token in which it is farthest from the nearer edge, the first of equal ones.

    Args:
        places: int64, (n,), numbers of tokens. cut: result of `cuts`.

    Returns:
        numbers of windows, int64 (n,).
    """
    lows, highs = np.array(cut, np.int64).T[:, :, None]
    return np.minimum(places - lows, highs - 1 - places).argmax(0)


class _Text:
    """The tokens of a text.

    Attributes:
        ids: int64, (tokens,).
        first: the token that stands for each word that has one, ascending.
    """

    def __init__(self, row: Row, encoding: Encoding, outside: int):
        self.ids, text = np.array(encoding.ids, np.int64), row["text"]
        spans = np.array(encoding.offsets, np.int64).reshape(-1, 2)
        begins = spans[:, 0].copy()
        for i, (begin, end) in enumerate(spans.tolist()):  # some tokenizers count the space before a word to it
            if begin < end and text[begin].isspace():
                begins[i] = end - len(text[begin:end].lstrip())
        starts, ends = np.array(row["starts"], np.int64), np.array(row["ends"], np.int64)
        word = np.searchsorted(ends, begins, side="right")
        inside = (word < len(ends)) & (begins < spans[:, 1])
        inside[inside] = starts[word[inside]] <= begins[inside]
        word = np.where(inside, word, -1)
        # The tokens of a character that are several (bytes) begin at the same place: the first stands for the word.
        own, at = np.unique(word, return_index=True)
        self.first = at[own >= 0]
        self.word = own[own >= 0]
        tags = np.full(len(ends), UNTAGGED) if row["tags"] is None else np.array(row["tags"], np.int64)
        self.tags = tags[self.word]
        self.entity = inside & (tags[np.clip(word, 0, None)] != outside) & (row["tags"] is not None)

    def windows(self, cut: list[tuple[int, int]], template: Template, index: int) -> Iterator[dict]:
        """The features of the text, one for each window."""
        before, after = template.sizes
        window = windows_of(self.first, cut)
        for number, (low, high) in enumerate(cut):
            length = before + high - low + after
            inner = slice(before, before + high - low)
            mine = window == number
            places = self.first[mine] - low + before
            values = {
                "input_ids": np.concatenate([template.ids[:before], self.ids[low:high], template.ids[before:]]),
                "token_type_ids": np.concatenate(
                    [template.kinds[:before], np.full(high - low, template.texts[0]), template.kinds[before:]]
                ),
                "labels": np.full(length, UNLABELLED),
                "words": np.full(length, -1),
                "entity": np.zeros(length, bool),
            }
            values["labels"][places], values["words"][places] = self.tags[mine], self.word[mine]
            values["entity"][inner] = self.entity[low:high]
            yield values | {"length": length, "example_index": index}


def _array(values: list, kind: pa.DataType, offsets: pa.Array) -> pa.Array:
    if not pa.types.is_list(kind):
        return pa.array(values, type=kind)
    flat = np.concatenate(values)
    if not pa.types.is_boolean(kind.value_type):
        flat = flat.astype(kind.value_type.to_pandas_dtype())
    return pa.ListArray.from_arrays(offsets, pa.array(flat, type=kind.value_type), type=kind)
