"""Weights of soft targets: from the cache beside the features, and from there into batches."""

import numpy as np
import pytest
import torch

from distill.data.loading.batches import Collator, Rows
from distill.errors import UserError
from distill.losses.terms import TEACHER_WEIGHT
from distill.signals import row_weights
from tests.helpers import cached, text

LENGTHS = [3, 2, 4]
LOGITS = np.arange(6, dtype=np.float32).reshape(3, 2)


def test_they_stand_beside_the_features_in_the_order_of_the_cache(tmp_path):
    weights = np.float32([1.0, 0.0, 0.1])
    cache = cached.write(tmp_path / "cache", LENGTHS, {"logits": LOGITS, "weight": weights[:, None]}, shard_bytes=4)
    features = row_weights.beside(cache, 0.0, text.features(3))
    rows = Rows(features, ("input_ids", "labels", TEACHER_WEIGHT))
    batch = Collator(0, ("labels", TEACHER_WEIGHT))(rows.__getitems__([2, 0]))
    assert batch[TEACHER_WEIGHT].dtype == torch.float32
    assert batch[TEACHER_WEIGHT].tolist() == weights[[2, 0]].tolist() and batch["index"].tolist() == [2, 0]


def test_without_weights_the_features_stay_as_they_are(tmp_path):
    features = text.features(3)
    assert row_weights.beside(cached.write(tmp_path / "cache", LENGTHS, {"logits": LOGITS}), 0.0, features) is features


def test_the_rows_may_be_the_first_of_the_cache(tmp_path):
    """A student that takes no unlabelled texts trains on the labelled ones, which come first."""
    weights = np.float32([[1.0], [0.5], [0.25]])
    cache = cached.write(tmp_path / "cache", LENGTHS, {"logits": LOGITS, "weight": weights})
    assert row_weights.beside(cache, 0.0, text.features(2))[TEACHER_WEIGHT] == [1.0, 0.5]
    with pytest.raises(ValueError, match="3 rows of outputs for 4 features"):
        row_weights.beside(cache, 0.0, text.features(4))


def test_the_spread_of_an_ensemble_makes_rows_count_less(tmp_path):
    spread, weights = np.float32([[0.0], [0.3], [0.6]]), np.float32([[1.0], [1.0], [0.0]])
    alone = cached.write(tmp_path / "alone", LENGTHS, {"logits": LOGITS, "spread": spread})
    both = cached.write(tmp_path / "both", LENGTHS, {"logits": LOGITS, "spread": spread, "weight": weights})
    features = text.features(3)
    assert row_weights.beside(alone, 0.0, features) is features
    expected = np.exp(-2 * np.float64([0.0, 0.3, 0.6]))
    assert row_weights.beside(alone, 2.0, features)[TEACHER_WEIGHT] == pytest.approx(expected.tolist())
    assert row_weights.beside(both, 2.0, features)[TEACHER_WEIGHT] == pytest.approx([*expected[:2], 0.0])


def test_a_single_teacher_has_no_spread(tmp_path):
    cache = cached.write(tmp_path / "cache", LENGTHS, {"logits": LOGITS})
    with pytest.raises(UserError, match="distill.spread_weight: 2, but the cached outputs are of a single teacher"):
        row_weights.beside(cache, 2.0, text.features(3))
