"""Weights of soft targets: from the cache beside the features, and from there into batches."""

import numpy as np
import pytest
import torch

from distill.data.loading.batches import Collator, Rows
from distill.losses.terms import TEACHER_WEIGHT
from distill.signals import row_weights
from tests.helpers import cached, text

LENGTHS = [3, 2, 4]
LOGITS = np.arange(6, dtype=np.float32).reshape(3, 2)


def test_they_stand_beside_the_features_in_the_order_of_the_cache(tmp_path):
    weights = np.float32([1.0, 0.0, 0.1])
    cache = cached.write(tmp_path / "cache", LENGTHS, {"logits": LOGITS, "weight": weights[:, None]}, shard_bytes=4)
    features = row_weights.beside(text.features(3), cache)
    rows = Rows(features, ("input_ids", "labels", TEACHER_WEIGHT))
    batch = Collator(0, ("labels", TEACHER_WEIGHT))(rows.__getitems__([2, 0]))
    assert batch[TEACHER_WEIGHT].dtype == torch.float32
    assert batch[TEACHER_WEIGHT].tolist() == weights[[2, 0]].tolist() and batch["index"].tolist() == [2, 0]


def test_without_weights_the_features_stay_as_they_are(tmp_path):
    features = text.features(3)
    assert row_weights.beside(features, cached.write(tmp_path / "cache", LENGTHS, {"logits": LOGITS})) is features


def test_weights_of_other_rows_are_never_joined(tmp_path):
    weights = np.ones((3, 1), np.float32)
    cache = cached.write(tmp_path / "cache", LENGTHS, {"logits": LOGITS, "weight": weights})
    with pytest.raises(ValueError, match="3 weights for 4 features"):
        row_weights.beside(text.features(4), cache)
