"""Which kind of data each task learns from."""

from __future__ import annotations

from distill.data.kinds import passages, questions, texts
from distill.data.kinds.base import Kind

KINDS: dict[str, Kind] = {
    "qa": questions.KIND,
    "classification": texts.KIND,
    "regression": texts.KIND,
    "ranking": passages.KIND,
}
