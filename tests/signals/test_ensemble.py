"""The mean of several teachers' probabilities against a naive one, row by row, in float64."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax

from distill.errors import UserError
from distill.signals import ensemble
from distill.signals.cache import Array, Cache, Writer
from distill.tasks.base import Predicted

CLASSES = SimpleNamespace(per_token=False, has_classes=True, logits_of="classes")
TOKENS = SimpleNamespace(per_token=True, has_classes=True, logits_of="positions")
NUMBERS = SimpleNamespace(per_token=False, has_classes=False, logits_of="number")
OFFSETS = np.array([0, 3, 4, 9, 14])
ROWS = len(OFFSETS) - 1


def drawn(task, members: int = 3, seed: int = 0) -> np.ndarray:
    shape = (OFFSETS[-1], 2) if task.per_token else (ROWS, 4 if task.has_classes else 1)
    return np.random.default_rng(seed).normal(0, 3, (members, *shape)).astype(np.float32)


def by_hand(task, logits: np.ndarray, weights: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Mean probabilities (or numbers) and spread of each row, with loops."""
    rows = []
    for row in range(ROWS):
        part = logits[:, OFFSETS[row] : OFFSETS[row + 1]] if task.per_token else logits[:, row]
        share = weights[:, row] / weights[:, row].sum()
        if not task.has_classes:
            mean = np.average(part, axis=0, weights=share)
            rows.append((mean, float(np.sqrt(np.average((part - mean) ** 2, axis=0, weights=share)).mean())))
            continue
        p = softmax(part.astype(np.float64), axis=1)
        mean = np.average(p, axis=0, weights=share)
        # Rows of channels: of a window start and end, else a single one.
        each, middle = (np.moveaxis(p, 2, 0), mean.T) if task.per_token else (p[None], mean[None])
        spreads = [
            sum(w * float((q * np.log(q / m)).sum()) for w, q in zip(share, member, strict=True))
            for member, m in zip(each, middle, strict=True)
        ]
        rows.append((mean, float(np.mean(spreads))))
    return rows


@pytest.mark.parametrize("task", [CLASSES, TOKENS, NUMBERS], ids=["classes", "tokens", "numbers"])
@given(
    seed=st.integers(0, 1000),
    weights=st.lists(st.lists(st.floats(0.01, 10), min_size=ROWS, max_size=ROWS), min_size=2, max_size=4),
)
def test_mean_and_spread(task, seed, weights):
    weights = np.array(weights)
    logits = drawn(task, len(weights), seed)
    combined = ensemble.combine(logits, weights, OFFSETS if task.per_token else None, task.has_classes)
    for row, (mean, spread) in enumerate(by_hand(task, logits, weights)):
        part = combined.logits[OFFSETS[row] : OFFSETS[row + 1]] if task.per_token else combined.logits[row]
        np.testing.assert_allclose(softmax(part, axis=0) if task.has_classes else part, mean, rtol=1e-9, atol=1e-12)
        assert combined.spread[row] == pytest.approx(spread, abs=1e-9)


def test_the_spread_of_two_is_the_jensen_shannon_divergence():
    logits = drawn(CLASSES, 2)
    spread = ensemble.combine(logits, np.ones((2, ROWS)), None, True).spread
    p, q = softmax(logits.astype(np.float64), axis=-1)
    np.testing.assert_allclose(spread, jensenshannon(p, q, axis=1) ** 2, rtol=1e-9)


def test_a_member_without_weight_counts_for_nothing():
    logits = drawn(CLASSES, 3)
    weights = np.array([[1.0] * ROWS, [2.0] * ROWS, [0.0] * ROWS])
    three, two = (ensemble.combine(logits[:n], weights[:n], None, True) for n in (3, 2))
    np.testing.assert_array_equal(three.logits, two.logits)
    np.testing.assert_array_equal(three.spread, two.spread)


def cached(folder, task, logits: np.ndarray, weight: list[float] | None = None, data: str = "data") -> Cache:
    """A member's cache, as stage predict_member writes it."""
    arrays = {"logits": Array(logits.shape[-1], task.per_token)} | ({"weight": Array(1, False)} if weight else {})
    writer = Writer(folder, OFFSETS, arrays)
    for row in range(ROWS):
        values = logits[OFFSETS[row] : OFFSETS[row + 1]][None] if task.per_token else logits[row][None]
        writer.write(np.array([row]), {"logits": values} | ({"weight": np.array([[weight[row]]])} if weight else {}))
    writer.finish({"data": data, "tokenizer": "words", "teacher": folder.name})
    return Cache.open(folder, {})


@pytest.mark.parametrize("task", [CLASSES, TOKENS, NUMBERS], ids=["classes", "tokens", "numbers"])
def test_caches_are_combined_row_by_row(task, tmp_path, monkeypatch):
    monkeypatch.setattr(ensemble, "ROWS", 3)  # several batches, the last one short
    logits = drawn(task)
    members = {f"m{i}": cached(tmp_path / f"m{i}", task, values) for i, values in enumerate(logits)}
    weights = {"m0": 1.0, "m1": 2.0, "m2": 0.5}
    ensemble.write(tmp_path / "mean", members, weights, task, {"task": "any"})
    mean = Cache.open(tmp_path / "mean", {"data": "data", "tokenizer": "words"})
    each = np.repeat(np.array([[1.0], [2.0], [0.5]]), ROWS, axis=1)
    for row, (expected, spread) in enumerate(by_hand(task, logits, each)):
        stored = mean.rows("logits", [row], int(OFFSETS[row + 1] - OFFSETS[row]))[0]
        found = softmax(stored.astype(np.float64), axis=0) if task.has_classes else stored
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
        assert mean.rows("spread", [row], 1)[0, 0] == pytest.approx(spread, abs=1e-5)
    assert mean.meta["members"] == ["m0", "m1", "m2"] and mean.meta["task"] == "any"


def test_rows_that_members_lack(tmp_path):
    """A row is the mean of those members that say something about it; where none does, it has no weight."""
    logits = drawn(CLASSES, 2)
    members = {
        "some": cached(tmp_path / "some", CLASSES, logits[0], [1, 0, 1, 0]),
        "others": cached(tmp_path / "others", CLASSES, logits[1], [1, 1, 0, 0]),
    }
    ensemble.write(tmp_path / "mean", members, {"some": 3.0, "others": 1.0}, CLASSES, {})
    mean = Cache.open(tmp_path / "mean", {})
    p = softmax(logits.astype(np.float64), axis=-1)
    expected = [0.75 * p[0, 0] + 0.25 * p[1, 0], p[1, 1], p[0, 2]]
    np.testing.assert_allclose(softmax(mean.rows("logits", [0, 1, 2], 1), axis=-1), expected, rtol=1e-5)
    assert mean.rows("weight", [0, 1, 2, 3], 1)[:, 0].tolist() == [1, 1, 1, 0]
    assert mean.rows("spread", [1, 2], 1)[:, 0] == pytest.approx([0, 0], abs=1e-9)


def test_identity_names_members_and_weights(tmp_path):
    members = {name: cached(tmp_path / name, CLASSES, drawn(CLASSES)[0]) for name in ("a", "b")}
    swapped = dict(reversed(members.items()))
    equal, other = {"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 2.0}
    assert ensemble.identity_of(members, equal) == ensemble.identity_of(swapped, equal)
    assert ensemble.identity_of(members, equal) != ensemble.identity_of(members, other)


def test_members_of_other_features_are_refused(tmp_path):
    members = {
        "a": cached(tmp_path / "a", CLASSES, drawn(CLASSES)[0]),
        "b": cached(tmp_path / "b", CLASSES, drawn(CLASSES)[1], data="other data"),
    }
    with pytest.raises(UserError, match="data/members/b/meta.json: its predictions belong to other features"):
        ensemble.write(tmp_path / "mean", members, {"a": 1, "b": 1}, CLASSES, {})


@pytest.mark.parametrize("task", [CLASSES, TOKENS], ids=["classes", "tokens"])
def test_splits(task):
    logits = drawn(task, 2)
    offsets = OFFSETS if task.per_token else np.arange(ROWS + 1)
    members = [Predicted(None, None, values, offsets, {}) for values in logits]
    mean = ensemble.of_splits(members, [1.0, 3.0], task)
    each = np.repeat(np.array([[1.0], [3.0]]), ROWS, axis=1)
    for row, (expected, _) in enumerate(by_hand(task, logits, each)):
        part = mean.logits[offsets[row] : offsets[row + 1]] if task.per_token else mean.logits[row]
        np.testing.assert_allclose(softmax(part.astype(np.float64), axis=0), expected, rtol=1e-5, atol=1e-7)
    assert mean.logits.dtype == np.float32
    short = Predicted(None, None, logits[1][:-1], offsets[:-1], {})
    with pytest.raises(ValueError, match="member 2 is of other rows"):
        ensemble.of_splits([members[0], short], [1, 1], task)
