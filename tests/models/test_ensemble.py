"""Several models as one: the mean of their logits."""

import numpy as np
import pytest

from distill.models.predict import ensemble
from distill.tasks.base import Predicted

OFFSETS = np.array([0, 2, 5], np.int64)


def predicted(logits, offsets=OFFSETS):
    return Predicted("examples", "features", np.asarray(logits, np.float32), offsets, {"task": "qa"})


def several(count=3):
    return [np.random.default_rng(seed).normal(size=(5, 2)).astype(np.float32) for seed in range(count)]


def test_it_is_the_mean_of_the_logits_and_all_else_of_the_first():
    values = several()
    found = ensemble(predicted(value) for value in values)
    for row in range(5):
        for side in range(2):
            mean = sum(float(value[row, side]) for value in values) / 3
            assert found.logits[row, side] == pytest.approx(mean, rel=1e-6)
    assert found.logits.dtype == np.float32 and found.offsets is OFFSETS
    assert (found.examples, found.features, found.meta) == ("examples", "features", {"task": "qa"})


def test_one_model_is_itself_bit_for_bit_and_no_input_is_changed():
    (only,) = several(1)
    before = only.copy()
    assert np.array_equal(ensemble([predicted(only)]).logits, before) and np.array_equal(only, before)
    values = several()
    kept = [value.copy() for value in values]
    ensemble([predicted(value) for value in values])
    assert all(np.array_equal(a, b) for a, b in zip(values, kept, strict=True))


def test_large_and_small_logits_are_added_up_in_float64():
    values = [np.full((5, 2), value, np.float32) for value in (1e8, 1.0, -1e8)]
    assert ensemble(predicted(value) for value in values).logits == pytest.approx(1 / 3)


def test_no_models_and_models_of_other_rows_are_refused():
    with pytest.raises(ValueError, match="no models"):
        ensemble([])
    one, other = several(2)
    with pytest.raises(ValueError, match="model 2 was run over other rows"):
        ensemble([predicted(one), predicted(other, np.array([0, 3, 5], np.int64))])
    with pytest.raises(ValueError, match="model 2 was run over other rows"):
        ensemble([predicted(one), predicted(other[:4])])
