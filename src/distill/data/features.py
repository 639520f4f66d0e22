"""Questions -> features: windows of tokens over the context, with the answer's token positions and offsets.

One question gives one feature per window: `[CLS] question [SEP] window of the context [SEP]`. Windows overlap by
`doc_stride` tokens, as in Hugging Face's question answering examples.
"""

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerFast

from distill.data.squad_json import Row, show
from distill.errors import UserError

_SPACES = np.array([chr(code).isspace() for code in range(0x3002)])


def schema(tokenizer: PreTrainedTokenizerFast) -> pa.Schema:
    """Columns of the features; single numbers are int32.

    No padding is stored: every list in a row has `length` entries.

    - input_ids: list<int32>; token_type_ids: list<int8>, only if the tokenizer makes them.
    - length; example_index: the question's row; cls_index: position of [CLS].
    - start_positions, end_positions: first and last token of the first gold answer; `cls_index`
      where there is none, or none in this window.
    - offset_start, offset_end: list<int32>, characters of the context that a token covers, leading
      space excluded; -1 for tokens that are not of the context.
    """
    columns = [("input_ids", pa.list_(pa.int32()))]
    if "token_type_ids" in tokenizer.model_input_names:
        columns.append(("token_type_ids", pa.list_(pa.int8())))
    single = ("length", "example_index", "start_positions", "end_positions", "cls_index")
    columns += [(name, pa.int32()) for name in single]
    columns += [("offset_start", pa.list_(pa.int32())), ("offset_end", pa.list_(pa.int32()))]
    return pa.schema(columns)


def encode(
    rows: list[Row],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    doc_stride: int,
    batch_size: int = 1000,
) -> Iterator[pa.RecordBatch]:
    """Encodes questions into features.

    The question's leading space is dropped and only the context is cut. Each context is tokenised once for all
    its questions in a batch.

    Args:
        rows: questions in the Hugging Face SQuAD schema.
        tokenizer: any fast tokenizer; its state is left alone.
        max_length: most tokens in a feature, special tokens included.
        doc_stride: tokens that neighbouring windows share.
        batch_size: questions per batch; bounds the memory, changes no feature.

    Yields:
        One batch per `batch_size` questions, in the rows' order, with the columns of `schema`.

    Raises:
        UserError: a question so long that its context must be cut but fewer than `doc_stride + 1` tokens fit.
    """
    encoder = _Encoder(tokenizer, max_length, doc_stride)
    for first in range(0, len(rows), batch_size):
        yield encoder.batch(rows[first : first + batch_size], first)


class _Context:
    """One tokenised context: its encoding and the character spans of its tokens, int32 of shape (tokens,)."""

    def __init__(self, context: str, encoding: Encoding):
        self.encoding = encoding
        spans = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2)
        codes = np.frombuffer(context.encode("utf-32-le"), dtype=np.uint32)
        spaces = _SPACES[np.minimum(codes, len(_SPACES) - 1)]
        # The next character that is no space, for every position: SentencePiece and byte-level tokens carry the space
        # before their word.
        nearest = np.where(spaces, len(codes), np.arange(len(codes)))
        nearest = np.append(np.minimum.accumulate(nearest[::-1])[::-1], len(codes))
        self.ends = spans[:, 1].copy()
        self.starts = np.minimum(nearest[spans[:, 0]], self.ends).astype(np.int32)

    def tokens_of(self, text: str, start: int) -> tuple[int, int]:
        """First and last token that touch an answer; last < first if the tokenizer dropped all its characters."""
        start += len(text) - len(text.lstrip())
        end = start + len(text.strip())
        first = int(np.searchsorted(self.ends, start, side="right"))
        return first, int(np.searchsorted(self.starts, end, side="left")) - 1


class _Encoder:
    def __init__(self, tokenizer: PreTrainedTokenizerFast, max_length: int, doc_stride: int):
        self.max_length, self.doc_stride = max_length, doc_stride
        self.cls_id = tokenizer.cls_token_id
        self.special = tokenizer.num_special_tokens_to_add(pair=True)
        self.schema = schema(tokenizer)
        state = json.loads(tokenizer.backend_tokenizer.to_str()) | {"padding": None, "truncation": None}
        self.joiner = Tokenizer.from_str(json.dumps(state))
        # Questions and contexts are tokenised alone and joined later; a post-processor may run only once, because
        # RoBERTa's trims the offsets each time.
        self.splitter = Tokenizer.from_str(json.dumps(state | {"post_processor": None}))
        if doc_stride < max_length - self.special:
            self.joiner.enable_truncation(max_length, stride=doc_stride, strategy="only_second")

    def batch(self, rows: list[Row], first_index: int) -> pa.RecordBatch:
        texts = list(dict.fromkeys(row["context"] for row in rows))
        encodings = self.splitter.encode_batch(texts, add_special_tokens=False)
        contexts = {text: _Context(text, encoding) for text, encoding in zip(texts, encodings, strict=True)}
        questions = self.splitter.encode_batch([row["question"].lstrip() for row in rows], add_special_tokens=False)
        columns: dict[str, list] = {name: [] for name in self.schema.names}
        for i, (row, question) in enumerate(zip(rows, questions, strict=True)):
            self._windows(columns, row, question, contexts[row["context"]], first_index + i)
        arrays = [_array(columns[field.name], field.type) for field in self.schema]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _windows(self, columns: dict[str, list], row: Row, question: Encoding, context: _Context, index: int) -> None:
        total = len(context.encoding)
        room = self.max_length - self.special - len(question)
        if room < min(total, self.doc_stride + 1):
            raise UserError(
                f"question {show(row['id'])}: its {len(question)} tokens leave room for {max(room, 0)} of the context "
                f"in features.max_length = {self.max_length}, but windows that share features.doc_stride = "
                f"{self.doc_stride} tokens need {self.doc_stride + 1}; raise features.max_length, lower "
                "features.doc_stride or shorten the question"
            )
        answers = row["answers"]
        gold = context.tokens_of(answers["text"][0], answers["answer_start"][0]) if answers["text"] else (0, -1)
        joined = self.joiner.post_process(question, context.encoding, add_special_tokens=True)
        at = joined.sequence_ids.index(1) if total else 0
        for k, window in enumerate((joined, *joined.overflowing)):
            low = k * (room - self.doc_stride)
            high = min(low + room, total)
            if len(window) != self.special + len(question) + high - low:
                raise RuntimeError(f"window {k} of question {row['id']} has {len(window)} tokens: not as computed")
            cls = window.ids.index(self.cls_id)
            inside = low <= gold[0] <= gold[1] < high
            columns["input_ids"].append(np.array(window.ids, dtype=np.int32))
            if "token_type_ids" in columns:
                # Not the window's own: joined afterwards, only the first window gets the template's types.
                inner = [joined.type_ids[at]] * (high - low)
                kinds = [*joined.type_ids[:at], *inner, *joined.type_ids[at + min(room, total) :]]
                columns["token_type_ids"].append(np.array(kinds, dtype=np.int8))
            columns["length"].append(len(window))
            columns["example_index"].append(index)
            columns["start_positions"].append(gold[0] - low + at if inside else cls)
            columns["end_positions"].append(gold[1] - low + at if inside else cls)
            columns["cls_index"].append(cls)
            for name, offsets in (("offset_start", context.starts), ("offset_end", context.ends)):
                spans = np.full(len(window), -1, dtype=np.int32)
                spans[at : at + high - low] = offsets[low:high]
                columns[name].append(spans)


def _array(values: list, kind: pa.DataType) -> pa.Array:
    if not pa.types.is_list(kind):
        return pa.array(values, type=kind)
    offsets = np.cumsum([0, *map(len, values)], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(values)), type=kind)
