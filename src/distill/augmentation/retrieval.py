"""Nearest neighbours of the training texts in a pool, by TF-IDF, and their features.

Kamalloo et al. 2021 (arXiv 2105.13608) retrieve by sentence embeddings from a large corpus; words weighted by TF-IDF
need no further model. A text is (text, None), or (first, second) for a pair, which is retrieved and replaced as a
whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from distill.data.features import text_features, word_features
from distill.data.sources import pre_tokens
from distill.data.sources.text_sets import cleaned
from distill.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Text = tuple[str, str | None]

# Scores held in memory at a time: queries of a block times texts of the pool.
_BLOCK = 1 << 24


def key(text: Text) -> str:
    """Equal for texts that differ in case and blanks alone."""
    return "\t".join(" ".join(part.casefold().split()) for part in text if part is not None)


def texts(examples: Any) -> list[Text]:
    """The text that neighbours replace in each row of a split's examples: the question, or the text or pair."""
    if "question" in examples.column_names:
        return [(question, None) for question in examples["question"]]
    return list(zip(examples["text"], examples["text_pair"], strict=True))


def unique(items: Iterable[Text]) -> list[Text]:
    """The texts in their order, each once (by `key`)."""
    by_key: dict[str, Text] = {}
    for text in items:
        by_key.setdefault(key(text), text)
    return list(by_key.values())


def without(pool: Iterable[Text], scored: Iterable[Text]) -> list[Text]:
    """The pool without `scored`, the texts of the selection and the reported splits."""
    held_out = {key(text) for text in scored}
    return [text for text in pool if key(text) not in held_out]


def read_pool(path: Path, pairs: bool, strip_html: bool) -> list[Text]:
    """The texts of a file, each once: one a line, UTF-8; a pair is its two texts with a tab between.

    They are cleaned as the data's texts are, so that texts of a reported split are recognised.

    Raises:
        UserError: the file cannot be read, or a line is no pair.
    """
    field = f"params.yaml: retrieve.pool: {path}"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{field}: {error}: name a UTF-8 text file with one text a line") from error
    pool: list[Text] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        first, _, second = line.partition("\t")
        if pairs and not (first.strip() and second.strip()):
            raise UserError(f"{field}: line {number}: a pair needs two texts with a tab between: add the second")
        texts = (first, second) if pairs else (line,)
        clean = [cleaned(text, strip_html) for text in texts]
        if all(clean):
            pool.append((clean[0], clean[1] if pairs else None))
    return unique(pool)


def neighbours(
    queries: Sequence[Text], pool: Sequence[Text], count: int, on_block: Callable[[int], None] | None = None
) -> np.ndarray:
    """The `count` texts of the pool that are nearest to each query by TF-IDF cosine, nearest first.

    A text is never its own neighbour, nor is one that equals it (`key`). Equally near ones are taken in the pool's
    order. Queries are scored block by block: the scores of all queries are never in memory at once.

    Args:
        pool: each text once (see `unique`).
        on_block: called with the number of queries done since the last call.

    Returns:
        int32 (queries, count), rows of the pool.

    Raises:
        UserError: the pool has `count` texts or fewer, or no words.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    if len(pool) <= count:
        raise UserError(
            f"params.yaml: retrieve.candidates: {count}: the pool has {len(pool)} different texts, and a text is not"
            f" its own neighbour: lower it to {max(len(pool) - 1, 1)} or less, or name a larger retrieve.pool"
        )
    places = {key(text): row for row, text in enumerate(pool)}
    distinct = unique(queries)
    vectorizer = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", dtype=np.float32)
    try:
        stored = vectorizer.fit_transform(map(key, pool)).T.tocsr()
    except ValueError as error:
        raise UserError(f"params.yaml: retrieve.pool: {error}: the texts need words") from error
    wanted = vectorizer.transform(map(key, distinct))
    nearest = np.empty((len(distinct), count), np.int32)
    size = max(1, _BLOCK // len(pool))
    for block in range(0, len(distinct), size):
        scores = wanted[block : block + size] @ stored
        for row, (start, end) in enumerate(zip(scores.indptr, scores.indptr[1:], strict=False), start=block):
            query_row = places.get(key(distinct[row]), -1)
            nearest[row] = _nearest(scores.indices[start:end], scores.data[start:end], query_row, count)
        if on_block:
            on_block(len(distinct[block : block + size]))
    rows = {key(text): row for row, text in enumerate(distinct)}
    return nearest[[rows[key(text)] for text in queries]]


def _nearest(rows: np.ndarray, scores: np.ndarray, query_row: int, count: int) -> np.ndarray:
    """The best `count` of the rows that share a word with the query; with fewer, also the pool's first other rows."""
    different = rows != query_row
    rows, scores = rows[different], scores[different]
    if len(rows) > count:
        near = scores >= np.partition(scores, -count)[-count]
        rows, scores = rows[near], scores[near]
    best = rows[np.lexsort((rows, -scores))][:count]
    if len(best) < count:
        excluded = {query_row, *best.tolist()}
        fillers = (row for row in range(count + len(excluded)) if row not in excluded)
        best = np.concatenate([best, [next(fillers) for _ in range(count - len(best))]])
    return best


def schema(tokenizer: PreTrainedTokenizerFast) -> pa.Schema:
    """Columns of candidates: input_ids list<int32>, token_type_ids list<int8> if the tokenizer makes them, length."""
    kinds = [("token_type_ids", pa.list_(pa.int8()))] if "token_type_ids" in tokenizer.model_input_names else []
    return pa.schema([("input_ids", pa.list_(pa.int32())), *kinds, ("length", pa.int32())])


def text_candidates(
    pool: Sequence[Text], tokenizer: PreTrainedTokenizerFast, max_length: int
) -> Iterator[pa.RecordBatch]:
    """The pool's texts as features, in its order, made as those of the data (`data.text_features`)."""
    rows = [{"text": first, "text_pair": second, "label": 0} for first, second in pool]
    names = schema(tokenizer).names
    for batch, _ in text_features.encode(rows, tokenizer, max_length, numeric=False):
        yield batch.select(names)


def word_candidates(
    pool: Sequence[Text], tokenizer: PreTrainedTokenizerFast, max_length: int
) -> Iterator[pa.RecordBatch]:
    """The pool's texts as features whose words nobody has tagged, in its order: of each the first window alone.

    The columns are those of `schema`, and `labels` (`data.features.word_features`).
    """
    rows = []
    for number, (text, _) in enumerate(pool):
        words = pre_tokens.words(text) or [(0, len(text))]
        starts, ends = zip(*words, strict=True)
        rows.append({"id": str(number), "text": text, "starts": starts, "ends": ends, "tags": None})
    names = word_schema(tokenizer).names
    for batch, _ in word_features.encode(rows, tokenizer, max_length, 0):
        index = batch.column("example_index").to_numpy()
        yield batch.take(pa.array(np.flatnonzero(np.diff(index, prepend=-1)))).select(names)


def word_schema(tokenizer: PreTrainedTokenizerFast) -> pa.Schema:
    """Columns of candidates whose words can be tagged: those of `schema`, and labels list<int32>."""
    return schema(tokenizer).append(pa.field("labels", pa.list_(pa.int32())))


class QuestionSwap:
    """Puts another question before a window's context; the context keeps its place and loses tokens at its end only.

    Args:
        tokenizer: tokenizer of the features.
        max_length: most tokens in a window.
        least: tokens of the context that stay even before a long question (which is cut instead).
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, max_length: int, least: int):
        self.tokenizer, self.max_length, self.least = tokenizer, max_length, least
        # Where special tokens stand differs between tokenizers: before, between and behind the two parts.
        pattern = tokenizer("a", "b")
        sides = pattern.encodings[0].sequence_ids
        first, second = ([place for place, side in enumerate(sides) if side == wanted] for wanted in (0, 1))
        cuts = [(0, first[0]), (first[-1] + 1, second[0]), (second[-1] + 1, len(sides))]
        self.special = [np.array(pattern["input_ids"][start:end], np.int32) for start, end in cuts]
        self.typed = "token_type_ids" in tokenizer.model_input_names
        if self.typed:
            kinds = np.array(pattern["token_type_ids"], np.int8)
            self.special_kinds = [kinds[start:end] for start, end in cuts]
            self.kinds = kinds[first[0]], kinds[second[0]]

    def questions(self, pool: Sequence[Text]) -> list[np.ndarray]:
        """Token ids of questions, as in the features: without their leading blanks, and without special tokens."""
        questions = [text.lstrip() for text, _ in pool]
        encoded = self.tokenizer(questions, add_special_tokens=False, return_attention_mask=False, verbose=False)
        return [np.array(ids, np.int32) for ids in encoded["input_ids"]]

    def row(self, question: np.ndarray, context: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """(input_ids, token_type_ids or None) of one window."""
        room = self.max_length - sum(map(len, self.special))
        question = question[: max(room - min(len(context), self.least), 0)]
        context = context[: room - len(question)]
        start, middle, end = self.special
        ids = np.concatenate([start, question, middle, context, end])
        if not self.typed:
            return ids, None
        (start, middle, end), (of_question, of_context) = self.special_kinds, self.kinds
        parts = [start, np.full(len(question), of_question), middle, np.full(len(context), of_context), end]
        return ids, np.concatenate(parts).astype(np.int8)

    def candidates(
        self, features: Any, pool: Sequence[Text], neighbours: np.ndarray, batch_size: int = 1000
    ) -> Iterator[pa.RecordBatch]:
        """For each feature row, in order, one window per neighbour.

        Args:
            features: windows (`data.features.schema`).
            pool: questions.
            neighbours: int (questions of the data, K), rows of the pool; row i belongs to `example_index` i.
        """
        questions, columns = self.questions(pool), schema(self.tokenizer)
        table = features.data.table.select(["input_ids", "offset_start", "example_index"])
        for batch in table.to_batches(max_chunksize=batch_size):
            windows = []
            for ids, offsets, example in zip(*(batch.column(i) for i in range(3)), strict=True):
                tokens, of_context = ids.values.to_numpy(), offsets.values.to_numpy() >= 0
                context = tokens[of_context]
                windows += [self.row(questions[row], context) for row in neighbours[example.as_py()]]
            lengths = np.array([len(ids) for ids, _ in windows], np.int32)
            offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
            arrays = [pa.ListArray.from_arrays(offsets, np.concatenate([ids for ids, _ in windows]))]
            if self.typed:
                arrays.append(pa.ListArray.from_arrays(offsets, np.concatenate([kinds for _, kinds in windows])))
            yield pa.RecordBatch.from_arrays([*arrays, pa.array(lengths)], schema=columns)


def write(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write an Arrow stream without metadata, like those of the prepared data; returns the number of its rows."""
    rows = 0
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
        for batch in batches:
            stream.write_batch(batch)
            rows += len(batch)
    return rows
