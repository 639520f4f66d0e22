"""Which kind of data each task learns from."""

from __future__ import annotations

from distill.data.kinds import label_sets, passages, questions, texts, words
from distill.data.kinds.base import Kind

KINDS: dict[str, Kind] = {
    "qa": questions.KIND,
    "classification": texts.KIND,
    "regression": texts.KIND,
    "multi_label": label_sets.KIND,
    "token_classification": words.KIND,
    "ranking": passages.KIND,
}
