"""Cached teacher outputs equal those of the teacher run along with the student."""

from pathlib import Path

import numpy as np
import pytest
import torch

from distill import registry
from distill.batching import Collator, Rows
from distill.cache import LogitWriter
from distill.errors import UserError
from distill.evaluation import forward_of, predict
from distill.methods.base import Distillation, Setup
from distill.signals import CachedTeacher, OnlineTeacher
from tests import tiny

TASK = registry.load_task("qa")
KD = registry.load("kd")


@pytest.fixture(scope="module")
def features():
    return tiny.features(24)


@pytest.fixture(scope="module")
def teacher():
    return tiny.model("deberta-v2", layers=2, width=12, seed=2)


@pytest.fixture(scope="module")
def cached(tmp_path_factory, features, teacher):
    """The teacher's logits as the stage predict_teacher writes them."""
    folder = tmp_path_factory.mktemp("cache")
    offsets = np.concatenate([[0], np.cumsum(features["length"])])
    writer = LogitWriter(folder, offsets, 2)
    forward = forward_of(teacher, TASK)
    for _, rows, logits in predict(forward, features, 0, 5, torch.device("cpu"), "fp32", "predict"):
        writer.write(rows, logits)
    writer.finish({"data": "data"})
    return CachedTeacher(folder, "data")


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
        method = KD(KD.Config(task_weight=1, kl_alpha=10, temperature=2), Setup(TASK, student.config, teacher.config))
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


def test_the_cache_of_other_data_is_refused_before_training(cached):
    with pytest.raises(UserError, match="the run trains on other: run `dvc repro predict_teacher`"):
        CachedTeacher(Path(cached.cache.logits.filename).parent, "other")


def test_what_each_source_provides(teacher, cached):
    assert cached.provides == {"logits"}
    assert OnlineTeacher(teacher, TASK, hidden=False, precision="fp32").provides == {"logits"}
    online = OnlineTeacher(teacher, TASK, hidden=True, precision="fp32")
    assert online.provides == {"logits", "hidden"}
    outputs = online(tiny.batch())
    assert [tuple(state.shape) for state in outputs.hidden] == [(3, 12, 12)] * 3
    assert not outputs.logits.requires_grad and not any(state.requires_grad for state in outputs.hidden)


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
