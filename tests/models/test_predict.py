"""Logits over a split: batching, order and padding change nothing, and neither does evaluating change training."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from distill.models.forward import forward_pass
from distill.models.predict import forward_of, layout, length_order, predict, predict_split
from distill.tasks.registry import load_task
from tests.helpers import tiny

TASK = load_task("qa")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def features():
    return tiny.features(17)


@pytest.fixture(scope="module")
def model():
    return tiny.model("bert", layers=2)


def prepared(features):
    """What `predict_split` asks of prepared data."""
    return SimpleNamespace(
        features=lambda split: features,
        examples=lambda split: f"examples of {split}",
        tokenizer=tiny.tokenizer,
        meta={"task": "qa"},
    )


def alone(model, row):
    """A row's logits without any padding."""
    batch = {name: torch.tensor([row[name]]) for name in ("input_ids", "token_type_ids")}
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    with torch.no_grad():
        return forward_pass(model.eval(), TASK, batch).logits[0].numpy()


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_every_rows_logits_are_those_of_the_row_alone(features, model, batch_size):
    found = predict_split(forward_of(model, TASK), prepared(features), "train", batch_size, CPU, "fp32", "x", True)
    assert found.examples == "examples of train" and found.features is features and found.meta == {"task": "qa"}
    assert found.logits.dtype == np.float32 and found.logits.shape == (sum(features["length"]), 2)
    assert found.offsets.tolist() == [0, *np.cumsum(features["length"])]
    for i, row in enumerate(features):
        own = found.logits[found.offsets[i] : found.offsets[i + 1]]
        np.testing.assert_allclose(own, alone(model, row), rtol=1e-4, atol=1e-5)


def test_several_heads_at_once_get_an_axis_of_their_own(features, model):
    single = forward_of(model, TASK)

    def double(batch):
        logits = single(batch)
        return torch.stack((logits, 2 * logits), -1)

    one, two = (
        predict_split(forward, prepared(features), "train", 4, CPU, "fp32", "x", True) for forward in (single, double)
    )
    assert two.logits.shape == (*one.logits.shape, 2)
    assert np.array_equal(two.logits[..., 0], one.logits) and np.array_equal(two.logits[..., 1], 2 * one.logits)


def test_longest_rows_first_and_every_row_once():
    lengths = np.array([3, 9, 1, 9, 5])
    assert [batch.tolist() for batch in length_order(lengths, 2)] == [[1, 3], [4, 0], [2]]


def test_a_later_start_gives_the_rest_of_the_batches(features, model):
    forward = forward_of(model, TASK)
    whole = list(predict(forward, features, 0, 4, CPU, "fp32", "x"))
    rest = list(predict(forward, features, 0, 4, CPU, "fp32", "x", start=3))
    assert [number for number, _, _ in whole] == [1, 2, 3, 4, 5]
    assert [number for number, _, _ in rest] == [4, 5]
    for (_, rows, logits), (_, other_rows, other_logits) in zip(whole[3:], rest, strict=True):
        assert np.array_equal(rows, other_rows) and np.array_equal(logits, other_logits)
    assert list(predict(forward, features, 0, 4, CPU, "fp32", "x", start=5)) == []


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_evaluated_without_dropout_and_gradient_and_left_as_it_was(features, training):
    model = tiny.model("bert", hidden_dropout_prob=0.5).train(training)
    modes = []
    model.register_forward_hook(lambda *_: modes.append((model.training, torch.is_grad_enabled())))
    state = torch.get_rng_state()
    runs = [
        predict_split(forward_of(model, TASK), prepared(features), "x", 4, CPU, "fp32", "x", True) for _ in range(2)
    ]
    assert np.array_equal(runs[0].logits, runs[1].logits)
    assert set(modes) == {(False, False)}
    assert all(module.training == training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)


def test_bf16_is_rounded_and_comes_out_as_float32(features, model):
    exact, rounded = (
        predict_split(forward_of(model, TASK), prepared(features), "x", 4, CPU, precision, "x", True)
        for precision in ("fp32", "bf16")
    )
    assert rounded.logits.dtype == np.float32
    assert not np.array_equal(exact.logits, rounded.logits)
    np.testing.assert_allclose(rounded.logits, exact.logits, atol=0.3 * np.abs(exact.logits).max())


@pytest.mark.parametrize("models_at_once", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_one_row_of_logits_per_feature_keeps_the_order_of_the_features(features, batch_size, models_at_once):
    """(B, C): a row's logits are a function of its tokens, so that a mix-up shows."""

    def forward(batch):
        first = batch["input_ids"].sum(1).float()
        logits = torch.stack((first, batch["attention_mask"].sum(1).float(), -first), -1)
        return logits if models_at_once == 1 else torch.stack([k * logits for k in range(models_at_once)], -1)

    found = predict_split(forward, prepared(features), "train", batch_size, CPU, "fp32", "x", per_token=False)
    sums = np.array([sum(row) for row in features["input_ids"]], np.float32)
    expected = np.stack((sums, np.array(features["length"], np.float32), -sums), 1)
    if models_at_once > 1:
        expected = np.stack([k * expected for k in range(models_at_once)], -1)
    assert np.array_equal(found.logits, expected)
    assert found.offsets.tolist() == list(range(18))


def test_the_layout_is_in_tokens_or_in_rows(features):
    assert layout(features, per_token=True).tolist() == [0, *np.cumsum(features["length"])]
    assert layout(features, per_token=False).tolist() == list(range(18))
    assert {layout(features, per_token).dtype for per_token in (True, False)} == {np.dtype(np.int64)}
