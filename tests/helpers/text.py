"""What tests of text tasks share: tokens and labels of classification and regression, rows, split predictions."""

import datasets
import numpy as np
import torch

from distill.config.scoring import Evaluate
from distill.tasks.base import Predicted
from tests.helpers import tiny

CLASSES = ("bad", "middling", "good")
SETTINGS = Evaluate(batch_size=8, precision="fp32", metric=None, n_best=5, max_answer_length=6, extra=[])


def batch(numeric: bool = False, classes: int = 3, **more) -> dict[str, torch.Tensor]:
    """`tiny.batch` with labels of a text task in place of a question's: int64 classes, or float32 numbers.

    Args:
        numeric: labels are numbers (regression).
        classes: labels are below this.
        **more: as for `tiny.batch`.
    """
    made = tiny.batch(**more)
    rows = len(made.pop("start_positions"))
    del made["end_positions"]
    labels = torch.arange(rows)
    made["labels"] = (labels * 0.75 - 1) if numeric else (labels + 1) % classes
    return made


def model(kind: str = "bert", layers: int = 2, width: int = 8, seed: int = 0, channels: int = 3, **fields):
    """A model for sequence classification (channels 1: regression) with weights that tell tokens apart."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    described = tiny.shape(kind, layers, width) | {"vocab_size": tiny.VOCAB, "pad_token_id": 0, "num_labels": channels}
    if kind == "distilbert":
        described["seq_classif_dropout"] = 0.0
    described |= fields
    torch.manual_seed(seed)
    config = AutoConfig.for_model(described.pop("model_type"), **described)
    built = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return built


def features(count: int = 24, seed: int = 0, longest: int = 20, numeric: bool = False) -> datasets.Dataset:
    """`tiny.features` with labels of a text task in place of a question's."""
    rows = tiny.features(count, seed, longest).remove_columns(["start_positions", "end_positions"])
    generator = np.random.default_rng(seed)
    labels = generator.normal(size=count).astype(np.float32) if numeric else generator.integers(0, 3, count)
    return rows.add_column("labels", labels)


def predicted(logits: np.ndarray, labels: list, prefix: str = "") -> Predicted:
    """A split with these logits (rows, C) and gold labels; ids are the prefix and the row's number."""
    examples = datasets.Dataset.from_dict({"id": [f"{prefix}{i}" for i in range(len(labels))], "label": labels})
    table = datasets.Dataset.from_dict({"length": [4] * len(labels), "example_index": list(range(len(labels)))})
    rows = {} if isinstance(labels[0], float) else {"labels": np.bincount(labels).tolist()}
    meta = {"splits": {"train": rows}}
    return Predicted(examples, table, logits.astype(np.float32), np.arange(len(labels) + 1), meta)


def rows(texts: list, labels: list, prefix: str = "") -> list[dict]:
    """Rows of texts, or of pairs where an item is a tuple."""
    pairs = [text if isinstance(text, tuple) else (text, None) for text in texts]
    return [
        {"id": f"{prefix}{i}", "text": one, "text_pair": other, "label": label}
        for i, ((one, other), label) in enumerate(zip(pairs, labels, strict=True))
    ]
