"""Writes prepared data: Arrow streams without metadata, so that the same data gives the same bytes."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from transformers import PreTrainedTokenizerFast

from distill.data.features import question_features, text_features, word_features
from distill.data.loading import template
from distill.data.loading.prepared import fingerprints
from distill.data.loading.tokenizer import fingerprint
from distill.data.sources.labels import UNLABELLED
from distill.data.sources.squad_json import Row
from distill.errors import UserError
from distill.runtime.files import file_hash, publish, tree_hash, write_text

_STRINGS = ("id", "title", "context", "question")
_ANSWERS = pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int32()))])
_EXAMPLES = pa.schema([*((name, pa.string()) for name in _STRINGS), ("answers", _ANSWERS)])
_TEXTS = [(name, pa.string()) for name in ("id", "text", "text_pair")]
_WORDS = [(name, pa.list_(pa.int32())) for name in ("starts", "ends", "tags")]

#: Called with a split's name and the number of examples just encoded.
Report = Callable[[str, int], None]
#: Function from (file, tokenizer, rows, receiver of the number of examples just encoded) to the counts of a split.
_Encode = Callable[[Path, PreTrainedTokenizerFast, list[Row], Callable[[int], None] | None], dict[str, Any]]


def write(
    folder: str | Path,
    splits: dict[str, list[Row]],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    doc_stride: int,
    extra_meta: dict[str, Any],
    on_batch: Report | None = None,
    readers: Mapping[str, PreTrainedTokenizerFast] | None = None,
) -> dict[str, Any]:
    """Writes questions, their features, tokenizer and meta.json; the folder appears once all is written.

    Args:
        folder: target folder; replaced if it exists.
        splits: rows by the split's name.
        tokenizer: encodes them and is saved beside them.
        max_length: most tokens in a feature.
        doc_stride: tokens that neighbouring windows share.
        extra_meta: more entries for meta.json, for example the task and the sources' sha256.
        on_batch: called with a split's name and the number of examples just encoded.
        readers: tokenizers of the models that read the same texts in tokens of their own, by role.

    Returns:
        What meta.json holds: `extra_meta`, max_length, doc_stride, tokenizer (vocab_size, fingerprint,
        blake2b of its files) and splits, each with examples, answerable, articles (those with a title), features,
        extra_windows (features beyond one a question), windowed_questions (those with several),
        answers_in_no_window (cut by the edge of every window, or dropped by the tokenizer; their
        features are labelled as unanswerable), tokens_mean and tokens_max (of a feature), blake2b (content hashes of
        the two files). With `readers`, readers (the tokenizer's entry, by role), and in each split readers: these
        counts of the features in a role's tokens, and the content hash of their file.

    Raises:
        UserError: a question too long for its window.
    """
    meta = {**extra_meta, "max_length": max_length, "doc_stride": doc_stride}

    def encode(
        path: Path, reader: PreTrainedTokenizerFast, rows: list[Row], report: Callable[[int], None] | None
    ) -> dict[str, Any]:
        count = _Count(rows)
        encoded = question_features.encode(rows, reader, max_length, doc_stride)
        _write_stream(path, question_features.schema(reader), count.passing(encoded, report))
        return count.result()

    def schema(rows: list[Row]) -> pa.Schema:
        return _EXAMPLES

    return _write(Path(folder), splits, tokenizer, meta, schema, encode, on_batch, readers or {})


def write_texts(
    folder: str | Path,
    splits: dict[str, list[Row]],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    numeric: bool,
    extra_meta: dict[str, Any],
    on_batch: Report | None = None,
    readers: Mapping[str, PreTrainedTokenizerFast] | None = None,
    classes: int | None = None,
    grouped: bool = False,
) -> dict[str, Any]:
    """`write` for texts and pairs of texts (`distill.data.sources.text_sets`).

    Args:
        numeric: labels are numbers (regression), not numbers of classes.
        classes: number of classes of which a row may have several (`distill.data.sources.label_sets`); None: a row has
            one label.
        grouped: rows are passages of queries (`distill.data.sources.passage_sets`): examples get `query`, features
            `group` and `passage`, and each split's counts `groups`.

    Returns:
        As `write`, without doc_stride; each split has examples, features (as many), truncated (texts that were cut),
        labels (how often each class occurs, in order; for regression least and greatest; empty without any label), with
        `classes` without_class (rows that have none of them),
        tokens_mean, tokens_max and blake2b.

    Raises:
        UserError: a length that leaves no room for a text.
    """
    single = pa.float64() if numeric else pa.int64()
    label = ("label", single if classes is None else pa.list_(single))

    def schema(rows: list[Row]) -> pa.Schema:
        more = ["query"] if grouped else ["group"] if rows and "group" in rows[0] else []
        return pa.schema([*_TEXTS, label, *((name, pa.string()) for name in more)])

    def encode(
        path: Path, reader: PreTrainedTokenizerFast, rows: list[Row], report: Callable[[int], None] | None
    ) -> dict[str, Any]:
        lengths, cut = [], 0

        def passing() -> Iterator[pa.RecordBatch]:
            nonlocal cut
            encoded = text_features.encode(rows, reader, max_length, numeric, classes=classes, grouped=grouped)
            for batch, truncated in encoded:
                cut += truncated
                lengths.extend(batch.column("length").to_pylist())
                yield batch
                if report:
                    report(len(batch))

        _write_stream(path, text_features.schema(reader, numeric, classes, grouped), passing())
        return {
            **({"groups": len({row["query"] for row in rows})} if grouped else {}),
            "examples": len(rows),
            "features": len(lengths),
            "truncated": cut,
            **_label_counts(rows, numeric, classes),
            "tokens_mean": round(sum(lengths) / max(len(lengths), 1), 2),
            "tokens_max": max(lengths, default=0),
        }

    meta = {**extra_meta, "max_length": max_length}
    return _write(Path(folder), splits, tokenizer, meta, schema, encode, on_batch, readers or {})


def write_words(
    folder: str | Path,
    splits: dict[str, list[Row]],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    doc_stride: int,
    extra_meta: dict[str, Any],
    on_batch: Report | None = None,
    readers: Mapping[str, PreTrainedTokenizerFast] | None = None,
) -> dict[str, Any]:
    """`write` for texts whose words have tags (`distill.data.sources.tagged_texts`).

    Args:
        extra_meta: among others `labels`, the names of the tags by number, O among them.

    Returns:
        As `write`; each split has examples, words, labels (how often each tag occurs, in order; empty without any),
        features, extra_windows (features beyond one a text), windowed_texts (those with several), silent_words (words
        without a token of their own, which no model can tag), tokens_mean, tokens_max and blake2b.

    Raises:
        UserError: a length that leaves no room for a text.
    """
    meta = {**extra_meta, "max_length": max_length, "doc_stride": doc_stride}
    outside = list(extra_meta["labels"]).index("O")

    def schema(rows: list[Row]) -> pa.Schema:
        return pa.schema([*_TEXTS, *_WORDS, *([("group", pa.string())] if rows and "group" in rows[0] else [])])

    def encode(
        path: Path, reader: PreTrainedTokenizerFast, rows: list[Row], report: Callable[[int], None] | None
    ) -> dict[str, Any]:
        lengths, windowed, silent = [], 0, 0

        def passing() -> Iterator[pa.RecordBatch]:
            nonlocal windowed, silent
            for batch, counts in word_features.encode(rows, reader, max_length, doc_stride, outside):
                windowed, silent = windowed + counts.windowed, silent + counts.silent
                lengths.extend(batch.column("length").to_pylist())
                yield batch
                if report:
                    report(len(batch.column("example_index").unique()))

        _write_stream(path, word_features.schema(reader), passing())
        tags = [tag for row in rows for tag in row["tags"] or ()]
        return {
            "examples": len(rows),
            "words": sum(len(row["starts"]) for row in rows),
            "labels": np.bincount(tags).tolist() if tags else [],
            "features": len(lengths),
            "extra_windows": len(lengths) - len(rows),
            "windowed_texts": windowed,
            "silent_words": silent,
            "tokens_mean": round(sum(lengths) / max(len(lengths), 1), 2),
            "tokens_max": max(lengths, default=0),
        }

    return _write(Path(folder), splits, tokenizer, meta, schema, encode, on_batch, readers or {})


def set_apart(folder: Path, target: Path, splits: Sequence[str], described: Sequence[str]) -> None:
    """Moves splits of a written folder into a folder of their own, with a meta.json of their own.

    Args:
        folder: folder that `write` wrote; it keeps the tokenizers.
        target: empty folder.
        splits: names of the splits to move.
        described: entries of meta.json that are about them and move with them.
    """
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    apart = {name: meta.pop(name) for name in described if name in meta}
    apart |= {"tokenizers": fingerprints(meta), "splits": {split: meta["splits"].pop(split) for split in splits}}
    for split in splits:
        (folder / split).rename(target / split)
    for place, content in ((folder, meta), (target, apart)):
        write_text(place / "meta.json", _json(content))


def _json(meta: dict[str, Any]) -> str:
    return json.dumps(meta, indent=2, ensure_ascii=False) + "\n"


def _write(
    folder: Path,
    splits: dict[str, list[Row]],
    tokenizer: PreTrainedTokenizerFast,
    meta: dict[str, Any],
    schema: Callable[[list[Row]], pa.Schema],
    encode: _Encode,
    on_batch: Report | None,
    readers: Mapping[str, PreTrainedTokenizerFast],
) -> dict[str, Any]:
    """Writes tokenizers, splits and meta.json into a neighbouring folder, then moves that into place."""
    building = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)  # left by a process that was killed in here
    try:
        building.mkdir(parents=True)
        meta["tokenizer"] = _save_tokenizer(tokenizer, building / "tokenizer")
        if readers:
            meta["readers"] = {
                role: _save_tokenizer(reader, building / f"{role}_tokenizer") for role, reader in readers.items()
            }
        meta["splits"] = {}
        for split, rows in splits.items():
            part = building / split
            part.mkdir()
            examples = schema(rows)
            _write_stream(part / "examples.arrow", examples, _examples(rows, examples))
            try:
                report = partial(on_batch, split) if on_batch else None
                counts = encode(part / "features.arrow", tokenizer, rows, report)
            except UserError as error:
                raise UserError(f"{split} split: {error}") from error
            hashes = {name: file_hash(part / f"{name}.arrow") for name in ("examples", "features")}
            meta["splits"][split] = counts | {"blake2b": hashes}
            for role, reader in readers.items():
                path = part / f"{role}_features.arrow"
                try:
                    counts = encode(path, reader, rows, None)
                except UserError as error:
                    raise UserError(f"{split} split, in the {role}'s tokens: {error}") from error
                entry = counts | {"blake2b": file_hash(path)}
                meta["splits"][split].setdefault("readers", {})[role] = entry
        write_text(building / "meta.json", _json(meta))
        publish(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return meta


def _save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> dict[str, Any]:
    """Writes a tokenizer; returns its entry in meta.json."""
    # Truncation and padding of the last call would be saved as part of tokenizer.json.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    template.save(tokenizer, folder)
    return {
        "vocab_size": len(tokenizer),
        "fingerprint": fingerprint(tokenizer),
        "blake2b": tree_hash(folder),
    }


def _label_counts(rows: list[Row], numeric: bool, classes: int | None) -> dict[str, Any]:
    """`labels`, and what else `write_texts` counts of them."""
    if classes is not None:
        sets = [row["label"] for row in rows if row["label"] is not None]
        counts = np.bincount(np.array([number for row in sets for number in row], int), minlength=classes)
        return {"labels": counts.tolist() if sets else [], "without_class": sum(not row for row in sets)}
    labels = np.array([row["label"] for row in rows], float if numeric else int)
    labels = labels[~np.isnan(labels) if numeric else labels != UNLABELLED]
    return {"labels": _extremes(labels) if numeric else np.bincount(labels).tolist()}


def _extremes(labels: np.ndarray) -> list[float]:
    return [float(labels.min()), float(labels.max())] if len(labels) else []


class _Count:
    """Counts a split while its features pass by."""

    def __init__(self, rows: list[Row]):
        self.rows = rows
        self.answerable = np.array([bool(row["answers"] and row["answers"]["text"]) for row in rows], dtype=bool)
        self.labelled = np.zeros(len(rows), dtype=bool)
        self.windows = np.zeros(len(rows), dtype=np.int64)
        self.tokens = self.longest = 0

    def passing(
        self, batches: Iterable[pa.RecordBatch], report: Callable[[int], None] | None
    ) -> Iterable[pa.RecordBatch]:
        """Counts each batch and hands it on; then reports its number of questions."""
        names = ("example_index", "start_positions", "cls_index", "length")
        for batch in batches:
            index, start, cls, length = (batch.column(name).to_numpy() for name in names)
            np.add.at(self.windows, index, 1)
            self.labelled[index[(start != cls) & (start != UNLABELLED)]] = True
            self.tokens += int(length.sum())
            self.longest = max(self.longest, int(length.max()))
            yield batch
            if report:
                report(len(np.unique(index)))

    def result(self) -> dict[str, int | float]:
        """The split's entry in meta.json."""
        features = int(self.windows.sum())
        return {
            "examples": len(self.rows),
            "answerable": int(self.answerable.sum()),
            "articles": len({row["title"] for row in self.rows} - {""}),
            "features": features,
            "extra_windows": features - len(self.rows),
            "windowed_questions": int((self.windows > 1).sum()),
            "answers_in_no_window": int((self.answerable & ~self.labelled).sum()),
            "tokens_mean": round(self.tokens / max(features, 1), 2),
            "tokens_max": self.longest,
        }


def _examples(rows: list[Row], schema: pa.Schema, batch_size: int = 1000) -> Iterable[pa.RecordBatch]:
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        columns = [pa.array([row[field.name] for row in part], field.type) for field in schema]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _write_stream(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
        for batch in batches:
            stream.write_batch(batch)
