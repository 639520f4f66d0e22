"""Questions -> features: windows of tokens over the context, with the answer's token positions and offsets.

One question gives one feature per window: `[CLS] question [SEP] window of the context [SEP]`. Windows overlap by
`doc_stride` tokens, as in Hugging Face's question answering examples.
"""

import json
from collections.abc import Iterator
from itertools import chain

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from distill.data.loading.template import Template, parameters_of
from distill.data.sources.labels import UNLABELLED
from distill.data.sources.squad_json import Row, show
from distill.errors import UserError

_SPACES = np.array([chr(code).isspace() for code in range(0x3002)])


def schema(tokenizer: PreTrainedTokenizerFast) -> pa.Schema:
    """Columns of the features; single numbers are int32.

    No padding is stored: every list in a row has `length` entries.

    - input_ids: list<int32>; token_type_ids: list<int8>, only if the tokenizer makes them.
    - length; example_index: the question's row; cls_index: position of [CLS].
    - start_positions, end_positions: first and last token of the first gold answer; `cls_index`
      where there is none, or none in this window; -100 where nobody has answered (`answers` are None).
    - offset_start, offset_end: list<int32>, characters of the context that a token covers, leading
      space excluded; -1 for tokens that are not of the context.
    - gold: list<bool>, tokens that touch a gold answer, any of them, also one that the window cuts through: there
      the positions above are `cls_index`.
    """
    columns = [("input_ids", pa.list_(pa.int32()))]
    if "token_type_ids" in tokenizer.model_input_names:
        columns.append(("token_type_ids", pa.list_(pa.int8())))
    single = ("length", "example_index", "start_positions", "end_positions", "cls_index")
    columns += [(name, pa.int32()) for name in single]
    columns += [("offset_start", pa.list_(pa.int32())), ("offset_end", pa.list_(pa.int32()))]
    columns.append(("gold", pa.list_(pa.bool_())))
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
    its questions in a batch, on all cores (the tokenizer's own threads; `TOKENIZERS_PARALLELISM` and
    `RAYON_NUM_THREADS` limit them and change no feature).

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
    for start in range(0, len(rows), batch_size):
        yield encoder.batch(rows[start : start + batch_size], start)


class _Texts:
    """Tokens of several texts, one text after another.

    Attributes:
        ids: int64, (tokens,).
        size: int64, (texts,): number of tokens of each text.
        offset: int64, (texts,): position in `ids` of each text's first token.
    """

    def __init__(self, ids: list[list[int]]):
        self.size = np.array([len(row) for row in ids], dtype=np.int64)
        self.offset = np.cumsum(self.size) - self.size
        self.ids = np.fromiter(chain.from_iterable(ids), np.int64, int(self.size.sum()))


class _Contexts(_Texts):
    """Tokens of several contexts, and the characters that they cover.

    Attributes:
        starts, ends: int64, (tokens,): characters of the token's own context.
    """

    def __init__(self, texts: list[str], encodings: list):
        super().__init__([encoding.ids for encoding in encodings])
        pairs = chain.from_iterable(encoding.offsets for encoding in encodings)
        spans = np.fromiter(chain.from_iterable(pairs), np.int64, 2 * len(self.ids)).reshape(-1, 2)
        codes = np.frombuffer("".join(texts).encode("utf-32-le"), dtype=np.uint32)
        spaces = _SPACES[np.minimum(codes, len(_SPACES) - 1)]
        # The next character that is no space, for every position: SentencePiece and byte-level tokens carry the space
        # before their word. It may lie in the next context: a token's end bounds it.
        nearest = np.where(spaces, len(codes), np.arange(len(codes)))
        nearest = np.append(np.minimum.accumulate(nearest[::-1])[::-1], len(codes))
        characters = np.array([len(text) for text in texts], dtype=np.int64)
        before = np.repeat(np.cumsum(characters) - characters, self.size)
        self.ends = spans[:, 1]
        self.starts = np.minimum(nearest[spans[:, 0] + before] - before, self.ends)
        # Spans rise within a context; with this much added per earlier context they rise over all contexts.
        self._room = int(characters.max(initial=0)) + 1
        added = np.repeat(np.arange(len(texts)) * self._room, self.size)
        self._starts, self._ends = self.starts + added, self.ends + added

    def tokens_of(self, context: np.ndarray, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and last token that touch the characters from `start` to before `end`, counted within the context.

        last < first if the tokenizer dropped all of them. All arrays int64, (answers,); `context` numbers the contexts.
        """
        added = context * self._room
        first = np.searchsorted(self._ends, start + added, side="right")
        last = np.searchsorted(self._starts, end + added, side="left") - 1
        return first - self.offset[context], last - self.offset[context]


class _Encoder:
    def __init__(self, tokenizer: PreTrainedTokenizerFast, max_length: int, doc_stride: int):
        self.max_length, self.doc_stride = max_length, doc_stride
        self.schema = schema(tokenizer)
        state = json.loads(tokenizer.backend_tokenizer.to_str()) | {"padding": None, "truncation": None}
        self.template = Template(tokenizer, pair=True)
        if self.template.cls is None:
            raise UserError(
                f"{parameters_of(tokenizer)}: adds no cls token to a text, which questions without an answer need; name"
                " an encoder's tokenizer"
            )
        # Questions and contexts are tokenised alone and joined below.
        self.splitter = Tokenizer.from_str(json.dumps(state | {"post_processor": None}))

    def batch(self, rows: list[Row], first_index: int) -> pa.RecordBatch:
        numbers = {text: i for i, text in enumerate(dict.fromkeys(row["context"] for row in rows))}
        contexts = _Contexts(list(numbers), self.splitter.encode_batch(list(numbers), add_special_tokens=False))
        # "Fast" leaves out the offsets, which questions do not need.
        texts = [row["question"].lstrip() for row in rows]
        encodings = self.splitter.encode_batch_fast(texts, add_special_tokens=False)
        questions = _Texts([encoding.ids for encoding in encodings])
        context = np.array([numbers[row["context"]] for row in rows])

        room = self.max_length - len(self.template.ids) - questions.size
        total = contexts.size[context]
        self._check(rows, questions.size, total, room)
        step = np.maximum(room - self.doc_stride, 1)
        windows = np.where(total > room, 1 - (room - total) // step, 1)
        row = np.repeat(np.arange(len(rows)), windows)
        low = (np.arange(len(row)) - np.repeat(np.cumsum(windows) - windows, windows)) * step[row]
        high = np.minimum(low + room[row], total[row])

        columns = self._tokens(questions, contexts, context, row, low, high)
        before, between, _ = self.template.sizes
        cls = self.template.cls + np.where(self.template.cls >= before, questions.size[row], 0)
        cls += np.where(self.template.cls >= before + between, high - low, 0)
        answers = _Answers(rows, contexts, context)
        first, last = answers.label_first[row], answers.label_last[row]
        inside = (low <= first) & (first <= last) & (last < high)
        shift = before + questions.size[row] + between - low
        ends = np.cumsum(columns["length"])
        # Windows one after another, as the columns are; shifted, a token of the context has its place in them.
        columns["gold"] = answers.marks(windows, low, high, ends - columns["length"] + shift, int(ends[-1]))
        known = np.array([item["answers"] is not None for item in rows])[row]
        columns |= {
            "example_index": first_index + row,
            "start_positions": np.where(known, np.where(inside, first + shift, cls), UNLABELLED),
            "end_positions": np.where(known, np.where(inside, last + shift, cls), UNLABELLED),
            "cls_index": cls,
        }
        offsets = pa.array(np.append(0, ends), pa.int32())
        return pa.RecordBatch.from_arrays(
            [_array(columns[field.name], field.type, offsets) for field in self.schema], schema=self.schema
        )

    def _check(self, rows: list[Row], question: np.ndarray, total: np.ndarray, room: np.ndarray) -> None:
        bad = np.flatnonzero(room < np.minimum(total, self.doc_stride + 1))
        if len(bad):
            i = bad[0]
            raise UserError(
                f"question {show(rows[i]['id'])}: its {question[i]} tokens leave room for {max(room[i], 0)} of the"
                f" context in features.max_length = {self.max_length}, but windows that share features.doc_stride ="
                f" {self.doc_stride} tokens need {self.doc_stride + 1}; raise features.max_length, lower "
                "features.doc_stride or shorten the question"
            )

    def _tokens(
        self,
        questions: _Texts,
        contexts: _Contexts,
        context: np.ndarray,
        row: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """The columns with a value per token, windows one after another, and the windows' lengths."""
        # All windows are put together from one pool of tokens: special ones, questions, contexts.
        before, between, after = self.template.sizes
        special, question_tokens = len(self.template.ids), len(questions.ids)
        parts = [
            (0, before),
            (special + questions.offset[row], questions.size[row]),
            (before, between),
            (special + question_tokens + contexts.offset[context[row]] + low, high - low),
            (before + between, after),
        ]
        starts, sizes = (np.stack(np.broadcast_arrays(*side, row)[:-1], axis=1) for side in zip(*parts, strict=True))
        ends = np.cumsum(sizes)
        index = np.arange(ends[-1]) + np.repeat(starts.ravel() - ends + sizes.ravel(), sizes.ravel())
        no_context = np.full(special + question_tokens, -1)
        kinds = [
            np.full(question_tokens, self.template.texts[0]),
            np.full(len(contexts.ids), self.template.texts[1]),
        ]
        pools = {
            "input_ids": (self.template.ids, questions.ids, contexts.ids),
            "token_type_ids": (self.template.kinds, *kinds),
            "offset_start": (no_context, contexts.starts),
            "offset_end": (no_context, contexts.ends),
        }
        return {"length": sizes.sum(axis=1)} | {
            name: np.concatenate(pool).astype(np.int32)[index]
            for name, pool in pools.items()
            if name in self.schema.names
        }


class _Answers:
    """The tokens of all gold answers, counted within the context.

    Attributes:
        label_first, label_last: int64, (rows,): tokens of each row's first answer; last < first where it has none.
        row: int64, (answers,): the row of each answer, in order.
        first, last: int64, (answers,): its tokens; last < first if the tokenizer dropped all of them.
    """

    def __init__(self, rows: list[Row], contexts: _Contexts, context: np.ndarray):
        spans = []
        for i, row in enumerate(rows):
            for k, text in enumerate(row["answers"]["text"] if row["answers"] else ()):
                start = row["answers"]["answer_start"][k] + len(text) - len(text.lstrip())
                spans.append((i, k, start, start + len(text.strip())))
        self.row, number, starts, ends = np.array(spans, dtype=np.int64).reshape(-1, 4).T
        first, last = contexts.tokens_of(context[self.row], starts, ends)
        self.first, self.last = np.where(ends > starts, first, 0), np.where(ends > starts, last, -1)
        self.label_first, self.label_last = np.zeros(len(rows), np.int64), np.full(len(rows), -1, np.int64)
        label = number == 0
        self.label_first[self.row[label]], self.label_last[self.row[label]] = self.first[label], self.last[label]

    def marks(
        self, windows: np.ndarray, low: np.ndarray, high: np.ndarray, shift: np.ndarray, total: int
    ) -> np.ndarray:
        """The tokens of the windows that any answer touches: bool, (total,).

        Args:
            windows: number of windows of each row.
            low, high: first token of the context in each window, and the one after its last.
            shift: difference, for each window, between a token's place among all windows' tokens and its number in
                the context.
            total: number of tokens of all windows.
        """
        # Every answer meets each window of its row, which keeps what lies inside.
        count = windows[self.row]
        window = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        window += np.repeat((np.cumsum(windows) - windows)[self.row], count)
        begin = np.maximum(np.repeat(self.first, count), low[window])
        end = np.minimum(np.repeat(self.last, count) + 1, high[window])
        overlap = begin < end
        edges = np.zeros(total + 1, np.int64)
        np.add.at(edges, begin[overlap] + shift[window[overlap]], 1)
        np.add.at(edges, end[overlap] + shift[window[overlap]], -1)
        return np.cumsum(edges)[:total] > 0


def _array(values: np.ndarray, kind: pa.DataType, offsets: pa.Array) -> pa.Array:
    if not pa.types.is_list(kind):
        return pa.array(values, type=kind)
    return pa.ListArray.from_arrays(offsets, pa.array(values, type=kind.value_type), type=kind)
