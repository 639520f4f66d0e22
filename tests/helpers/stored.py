"""Prepared data in memory, and files of a teacher's outputs for it."""

import csv
import json
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distill.data.features.question_features import encode
from distill.signals.predictions.files import Record
from distill.signals.stored import Stored
from distill.tasks.registry import load_task

CLASSES = ("bad", "middling", "good")


class Data:
    """What `Prepared` gives, of rows by split.

    Args:
        task: name of the task.
        splits: rows as stage prepare keeps them, by split, "train" among them.
        features: `datasets.Dataset` by split; None: a feature per row.
        meta: further entries of meta.json.
    """

    def __init__(self, task: str, splits: dict[str, list[dict]], features=None, **meta):
        pairs = task == "qa" or splits["train"][0].get("text_pair") is not None
        labels = list(CLASSES) if task == "classification" else []
        self.meta = {"task": task, "labels": labels, "pairs": pairs, "splits": dict.fromkeys(splits)} | meta
        self.meta["tokenizer"] = {"fingerprint": "b" * 32}
        self._examples = {split: datasets.Dataset.from_list(rows) for split, rows in splits.items()}
        self._features = features or {split: _one_each(len(rows)) for split, rows in splits.items()}

    def examples(self, split):
        return self._examples[split]

    def features(self, split):
        return self._features[split]

    @property
    def scored_splits(self):
        return [split for split in self.meta["splits"] if split not in ("train", "transfer")]

    @property
    def taught_splits(self):
        return [split for split in ("train", "transfer") if split in self.meta["splits"]]

    def taught_features(self):
        parts = [self.features(split) for split in self.taught_splits]
        return datasets.concatenate_datasets(parts) if len(parts) > 1 else parts[0]

    def trained_on(self):
        return "a" * 32


def _one_each(rows: int) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"length": [3] * rows, "example_index": list(range(rows))})


def texts(count: int, prefix: str = "", labels=None) -> list[dict]:
    """Rows of single texts; ids are numbers after the prefix."""
    return [
        {
            "id": f"{prefix}{i}",
            "text": f"text {prefix}{i}",
            "text_pair": None,
            "label": 0 if labels is None else labels[i],
        }
        for i in range(count)
    ]


def questions(rows: list[dict], tokenizer, length: int = 40, stride: int = 8) -> Data:
    """Questions with their windows, as a training split."""
    table = pa.Table.from_batches(list(encode(rows, tokenizer, length, stride)))
    return Data("qa", {"train": rows}, {"train": datasets.Dataset(table)}, version_2=True)


def task(data: Data, metric: str | None = None):
    return load_task(data.meta["task"], metric, data.meta["labels"])


def write(path: Path, records: list[dict]) -> Path:
    """The records in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    elif path.suffix == ".csv":
        names = list(dict.fromkeys(name for record in records for name in record))
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(records)
    else:
        lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        path.write_text("".join(lines), encoding="utf-8")
    return path


def read(path: Path, data: Data) -> Stored:
    return Stored.read(path, data, task(data))


def record(values: dict, textual: bool = False) -> Record:
    """A record of a file `x.jsonl`."""
    return Record("x.jsonl", "line 7", values, textual)


def softmax(values) -> np.ndarray:
    odds = np.exp(np.asarray(values, np.float64))
    return odds / odds.sum(-1, keepdims=True)
