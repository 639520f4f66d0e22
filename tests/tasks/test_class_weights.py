"""Weights of classes against scikit-learn and torch, and how they reach the task loss."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from distill.errors import UserError
from distill.losses.terms import weighted_cross_entropy
from distill.tasks import class_weights
from distill.tasks.registry import load_task
from pipeline.stage.inputs import with_class_weights
from tests.helpers import text, tiny

CLASSES = text.CLASSES
WEIGHTS = [0.25, 1.0, 7.5]


def logits(rows=6, seed=0):
    return 3 * torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("target", [[0, 1, 2, 2, 0, 1], [2] * 6, [0, -100, 2, -100, 1, 0]])
def test_the_loss_is_torch_s_weighted_cross_entropy_in_float64(smoothing, target):
    target = torch.tensor(target)
    single, double = logits().requires_grad_(), logits().double().requires_grad_()
    task = load_task("classification", labels=CLASSES).weighted(WEIGHTS)
    found = task.loss(single, {"labels": target}, smoothing)
    weights = torch.tensor(WEIGHTS, dtype=torch.float64)
    expected = F.cross_entropy(double, target, weights, label_smoothing=smoothing)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-7)
    found.backward()
    expected.backward()
    torch.testing.assert_close(single.grad.double(), double.grad, rtol=1e-5, atol=1e-7)


def test_the_weighted_mean_by_hand():
    given = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    found = weighted_cross_entropy(given, torch.tensor([1, 2]), torch.tensor([1.0, 3.0, 1.0]))
    assert found.item() == pytest.approx((3 * -np.log(0.25) + 1 * -np.log(0.8)) / 4, rel=1e-6)


def test_a_batch_without_a_label_costs_nothing():
    given = logits(2).requires_grad_()
    loss = weighted_cross_entropy(given, torch.tensor([-100, -100]), torch.ones(3))
    loss.backward()
    assert loss.item() == 0 and torch.equal(given.grad, torch.zeros(2, 3))


def test_equal_weights_are_no_weights():
    task, batch = load_task("classification", labels=CLASSES), text.batch()
    plain = task.loss(logits(3), batch)
    assert task.weighted([5.0] * 3).loss(logits(3), batch).item() == pytest.approx(plain.item(), rel=1e-6)
    assert torch.equal(task.loss(logits(3), batch), plain)  # the task that was weighted stays as it is


def test_balanced_is_scikit_learn_s():
    labels = np.random.default_rng(0).choice(3, 200, p=[0.7, 0.25, 0.05])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    unlabelled = np.concatenate([labels, np.full(50, -100)])
    for given in (labels, unlabelled):
        np.testing.assert_allclose(class_weights.of("balanced", CLASSES, given, "distill"), expected)


def test_weights_by_name_stand_in_the_order_of_the_classes():
    setting = {"good": 3.0, "bad": 0.5, "middling": 1.0}
    assert class_weights.of(setting, CLASSES, np.array([0]), "distill") == [0.5, 1.0, 3.0]


@pytest.mark.parametrize(
    ("setting", "part"),
    [
        ({"good": 1.0, "bad": 1.0, "midling": 2.0}, "'midling' is no class of the data (bad, middling, good)"),
        ({"good": 1.0, "bad": 1.0}, "has no weight of class 'middling'"),
        ("balanced", "balanced: no training row has class 'middling'"),
    ],
)
def test_other_classes_are_refused_in_one_line(setting, part):
    with pytest.raises(UserError) as caught:
        class_weights.of(setting, CLASSES, np.array([0, 2, 2]), "teacher")
    assert str(caught.value).startswith("params.yaml: teacher.class_weights: ") and part in str(caught.value)


def test_a_stage_counts_the_labels_that_its_training_sees():
    said, features = [], text.features(60)
    data = SimpleNamespace(features=lambda split: features)
    stage = SimpleNamespace(say=lambda verb, line: said.append((verb, line)))
    task = load_task("classification", labels=CLASSES)
    assert with_class_weights(stage, data, task, tiny.training(), "distill") is task and said == []
    weighted = with_class_weights(stage, data, task, tiny.training(class_weights="balanced"), "distill")
    weights = compute_class_weight("balanced", classes=np.arange(3), y=np.asarray(features["labels"]))
    batch = text.batch()
    expected = F.cross_entropy(logits(3).double(), batch["labels"], torch.tensor(weights))
    assert weighted.loss(logits(3), batch).item() == pytest.approx(expected.item(), rel=1e-6)
    assert len(said) == 1 and said[0][0] == "weighs" and f"bad {weights[0]:.3g}, middling" in said[0][1]


def test_many_classes_are_told_in_a_short_line():
    line = class_weights.describe([f"c{i}" for i in range(30)], [1.0] * 30)
    assert line.endswith("c19 1 and 10 more")
