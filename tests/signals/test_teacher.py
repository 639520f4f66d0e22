"""Cached teacher outputs equal those of the teacher run along with the student."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from distill import parameters
from distill.config.schema import Predict
from distill.data.loading.batches import Collator, Rows
from distill.methods import registry
from distill.methods.base import Distillation, Setup
from distill.signals import writer
from distill.signals.cache import Cache
from distill.signals.states import Reads
from distill.signals.teacher import CachedStates, CachedTeacher, OnlineTeacher
from distill.tasks.registry import load_task
from tests.helpers import micro, tiny
from tests.helpers.cached import write

TASK = load_task("qa")
KD = registry.load("kd")


@pytest.fixture(scope="module")
def features():
    return tiny.features(24)


@pytest.fixture(scope="module")
def teacher():
    return tiny.model("deberta-v2", layers=2, width=12, seed=2)


@pytest.fixture(scope="module")
def caches(tmp_path_factory, features, teacher):
    """The teacher's logits and states as the stage predict_teacher writes them, with the weights that they are of."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / "weights").write_bytes(b"the weights")
    data = SimpleNamespace(
        trained_on=lambda: "data",
        meta={"tokenizer": {"fingerprint": "words"}},
        features=lambda split: features,
        taught_features=lambda: features,
        tokenizer=lambda: SimpleNamespace(pad_token_id=0),
    )
    arrays = writer.state_arrays({"cls": [1, 2], "hidden": [1, 2]}, teacher.config.hidden_size, "float32")
    settings = Predict(batch_size=5, precision="fp32")
    weights = folder / "weights"
    writer.write(
        folder / "logits",
        teacher,
        weights,
        data,
        TASK,
        settings,
        tiny.runtime(2),
        "x",
        states=(folder / "states", arrays),
    )
    identity = writer.identity(data, weights)
    return Cache.open(folder / "logits", identity), Cache.open(folder / "states", identity)


@pytest.fixture(scope="module")
def cached(caches):
    """Logits alone."""
    return CachedTeacher(caches[0])


def batch_of(features, indices):
    columns = ("input_ids", "token_type_ids", *TASK.labels)
    return Collator(0, TASK.labels)(Rows(features, columns).__getitems__(indices))


def test_cached_equals_online_whatever_batch_a_row_is_in(features, teacher, cached):
    online = OnlineTeacher(teacher, TASK, hidden=False, precision="fp32")
    for indices in ([0, 1, 2, 3], [23, 7, 7], [11]):
        batch = batch_of(features, indices)
        real = batch["attention_mask"].bool()
        found, expected = cached(batch).logits, online(batch).logits
        assert found.shape == expected.shape and found.dtype == torch.float32
        torch.testing.assert_close(found[real], expected[real], rtol=1e-4, atol=1e-5)
        assert not found[~real].any()


def test_cached_and_online_train_alike(features, teacher, cached):
    results = []
    for signals in (cached, OnlineTeacher(teacher, TASK, hidden=False, precision="fp32")):
        student = tiny.model("bert", layers=1, seed=1)
        method = KD(
            parameters.load(micro.ROOT / "tests/params.yaml").sections["kd"],
            Setup(TASK, student.config, teacher.config),
        )
        objective = Distillation(student, method, signals).train()
        optimizer = torch.optim.SGD(objective.parameters(), 1e-3)
        losses = []
        for start in range(0, 24, 6):
            terms = objective(**batch_of(features, list(range(start, start + 6))))
            optimizer.zero_grad()
            terms["loss"].backward()
            optimizer.step()
            losses.append(terms["loss"].item())
        results.append((losses, torch.cat([p.detach().flatten() for p in student.parameters()])))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-4)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["cls", "hidden"])
def test_cached_states_equal_online_ones(features, teacher, caches, kind):
    online = OnlineTeacher(teacher, TASK, hidden=True, precision="fp32")
    signals = CachedTeacher(caches[0], CachedStates(caches[1], Reads.of(kind, [2, 1])))
    for indices in ([0, 1, 2, 3], [23, 7, 7], [11]):
        batch = batch_of(features, indices)
        real = batch["attention_mask"].bool()
        found, expected = signals(batch).hidden, online(batch).hidden
        assert set(found) == {1, 2}
        for layer, states in found.items():
            if kind == "cls":
                assert states.shape == (len(indices), 1, 12)
                torch.testing.assert_close(states[:, 0], expected[layer][:, 0], rtol=1e-4, atol=1e-5)
            else:
                torch.testing.assert_close(states[real], expected[layer][real], rtol=1e-4, atol=1e-5)
                assert states.shape == expected[layer].shape and not states[~real].any()


def test_what_each_source_provides(teacher, caches, cached):
    assert cached.provides == {"logits"}
    for kind, states in (("cls", {"cls"}), ("hidden", {"cls", "hidden"})):
        signals = CachedTeacher(caches[0], CachedStates(caches[1], Reads.of(kind, [1])))
        assert signals.provides == {"logits"} | states
    assert OnlineTeacher(teacher, TASK, hidden=False, precision="fp32").provides == {"logits", "model"}
    scores = OnlineTeacher(teacher, TASK, hidden=False, precision="fp32", attention=True)
    assert scores.provides == {"logits", "model", "attention"}
    online = OnlineTeacher(teacher, TASK, hidden=True, precision="fp32")
    assert online.provides == {"logits", "model", "hidden", "cls"}
    outputs = online(tiny.batch())
    assert [tuple(state.shape) for state in outputs.hidden] == [(3, 12, 12)] * 3
    assert not outputs.logits.requires_grad and not any(state.requires_grad for state in outputs.hidden)
    assert outputs.attention is None and scores(tiny.batch()).hidden is None


def test_the_online_teacher_is_in_evaluation_mode_without_gradients():
    model = tiny.model("bert", hidden_dropout_prob=0.5).train()
    online = OnlineTeacher(model, TASK, hidden=True, precision="fp32")
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(online(tiny.batch()).logits, online(tiny.batch()).logits)


def test_the_teachers_precision_is_its_own():
    model, batch = tiny.model("bert"), tiny.batch()
    exact = OnlineTeacher(model, TASK, hidden=False, precision="fp32")
    rounded = OnlineTeacher(model, TASK, hidden=False, precision="bf16")
    outside = exact(batch).logits
    with torch.autocast("cpu", torch.bfloat16):  # a student that trains in bf16 around it
        assert torch.equal(exact(batch).logits, outside)
    assert not torch.equal(rounded(batch).logits.float(), outside)


@pytest.mark.parametrize("name", ["classification", "regression"])
def test_logits_of_whole_rows_come_back_by_row(tmp_path, name):
    """(B, C): one row of logits per feature, whatever the width of the batch."""
    task = load_task(name, labels=["a", "b", "c"] if name == "classification" else [])
    logits = np.random.default_rng(0).normal(size=(6, task.channels)).astype(np.float32)
    cached = CachedTeacher(write(tmp_path, [3, 1, 4, 1, 5, 9], {"logits": logits}))
    batch = tiny.batch() | {"index": torch.tensor([5, 0, 5])}
    for given in (batch, tiny.wider(batch, 9)):
        found = cached(given).logits
        assert found.shape == (3, task.channels) and found.dtype == torch.float32
        assert np.array_equal(found.numpy(), logits[[5, 0, 5]])


def test_on_embeddings_gradients_reach_the_input_and_no_weight_of_the_teacher():
    online = OnlineTeacher(tiny.model("bert", hidden_dropout_prob=0.5).train(), TASK, hidden=False, precision="fp32")
    batch = tiny.batch()
    embeddings = online.model.get_input_embeddings()(batch["input_ids"])
    moved = embeddings.clone().requires_grad_()
    logits = online.on_embeddings(batch, moved).logits
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(logits[real], online(batch).logits[real], rtol=1e-4, atol=1e-5)
    TASK.loss(logits, batch).backward()
    assert moved.grad[real].abs().max() > 0
    assert not any(p.grad is not None for p in online.model.parameters())
    with torch.no_grad():
        assert not online.on_embeddings(batch, moved).logits.requires_grad


def test_on_embeddings_is_in_the_teachers_precision():
    model, batch = tiny.model("bert"), tiny.batch()
    embeddings = model.get_input_embeddings()(batch["input_ids"])
    exact, rounded = (
        OnlineTeacher(model, TASK, hidden=False, precision=precision).on_embeddings(batch, embeddings).logits.float()
        for precision in ("fp32", "bf16")
    )
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(rounded, exact, rtol=0.1, atol=0.1 * exact.abs().max().item())
