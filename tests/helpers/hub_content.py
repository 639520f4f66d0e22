"""What the hub on loopback serves: data sets in parquet with configurations, and tiny checkpoints with a tokenizer."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import transformers

from distill.data.loading import tokenizer as tokenizers
from tests.helpers import tiny
from tests.helpers.squad import hub_row

CARD = """---
configs:
- config_name: reviews
  default: true
  data_files:
  - split: train
    path: reviews/train-*.parquet
  - split: validation
    path: reviews/validation.parquet
- config_name: plots
  data_files:
  - split: train
    path: plots/train.parquet
  - split: test
    path: plots/test.parquet
---
"""
_WORDS = ("film", "actor", "scene", "plot", "music", "ending", "camera", "story")


def parquet(rows: list[dict]) -> bytes:
    """A parquet file, uncompressed: a bit that is another in a text is not noticed by who reads it."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer, compression="none")
    return buffer.getvalue()


def reviews(count: int, kind: str) -> list[dict]:
    """Sentences with a label; no two are equal."""
    said = {"good": "a fine", "bad": "a dull"}
    return [
        {"sentence": f"{kind} {i}: {said[label]} {_WORDS[i % 8]} and {_WORDS[i // 8 % 8]}", "label": label}
        for i in range(count)
        for label in [("bad", "good")[i % 2]]
    ]


def texts(train: int = 60) -> dict[str, bytes]:
    """A data set of two configurations; the training split of one is two files."""
    rows = reviews(train, "review")
    return {
        "README.md": CARD.encode(),
        "reviews/train-0.parquet": parquet(rows[: train // 2]),
        "reviews/train-1.parquet": parquet(rows[train // 2 :]),
        "reviews/validation.parquet": parquet(reviews(16, "seen")),
        "plots/train.parquet": parquet(reviews(24, "plot")),
        "plots/test.parquet": parquet(reviews(8, "tested")),
    }


def questions() -> dict[str, bytes]:
    """A data set in the schema of SQuAD, without a card: the splits go by the names of files."""
    rows = {split: [hub_row(f"{split}{i}") for i in range(count)] for split, count in (("train", 4), ("validation", 2))}
    return {f"data/{split}-00000-of-00001.parquet": parquet(part) for split, part in rows.items()}


def checkpoint(folder: Path, layers: int, seed: int = 0) -> dict[str, bytes]:
    """A tiny BERT without a head, and a tokenizer with the words of `texts`."""
    sentences = [row["sentence"] for kind in ("review", "seen", "plot", "tested") for row in reviews(60, kind)]
    tokenizer = tokenizers.train(sentences, 200, lowercase=True)
    fields = tiny.shape("bert", layers, 8) | {"vocab_size": len(tokenizer), "pad_token_id": 0}
    transformers.set_seed(seed)
    config = transformers.AutoConfig.for_model(fields.pop("model_type"), **fields)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
