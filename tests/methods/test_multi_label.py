"""Methods that go through the classes' distributions, where rows have several labels: each class is a choice of two."""

import math
from types import SimpleNamespace

import pytest
import torch

from distill.errors import UserError
from distill.methods import registry
from distill.methods.base import Setup
from distill.methods.shared import adversary, class_rows
from distill.models.forward import Outputs
from distill.tasks.registry import load_task
from tests.helpers import reference, tiny
from tests.losses.test_correlation import by_hand

TASK = load_task("multi_label", labels=("a", "b", "c"))
LABELS = torch.tensor([[1.0, 0, 1], [0, 0, 0], [math.nan] * 3, [1, 1, 0], [0, 1, 1]])
KD = {
    "task_weight": 1, "kl_alpha": 10, "temperature": 1.5, "divergence": "forward", "standardize": False,
    "decoupled": False, "decoupled_alpha": 1, "decoupled_beta": 8,
}  # fmt: skip
DIST = {"task_weight": 1, "row_alpha": 0, "class_alpha": 3, "temperature": 1.5}
REG = {"task_weight": 0.9, "kl_alpha": 0.1, "temperature": 5, "correct": 0.99, "soften": "logits"}


def build(name, **values):
    kind, shape = registry.load(name), tiny.model().config
    return kind(kind.Config(**values), Setup(TASK, shape, shape))


def drawn():
    draw = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(5, 3, generator=draw) for _ in range(2))
    return student.requires_grad_(), student.detach().double().requires_grad_(), teacher


def terms_of(method, student, teacher):
    return method.terms({"labels": LABELS}, Outputs(student), Outputs(teacher))


def same(found, expected, student, student64):
    found.backward()
    expected.backward()
    reference.same_value(found, expected)
    torch.testing.assert_close(student.grad.double(), student64.grad, rtol=1e-3, atol=1e-6)


def test_dist_correlates_each_class_over_the_batch_and_mixes_none():
    student, student64, teacher = drawn()
    p, q = (student64 / 1.5).sigmoid(), (teacher.double() / 1.5).sigmoid()
    expected = sum(1 - by_hand(p[:, c], q[:, c]) for c in range(3)) / 3
    same(terms_of(build("dist", **DIST), student, teacher)["class"], expected, student, student64)


@pytest.mark.parametrize("divergence", ["reverse", "js", "tv"])
def test_kds_divergences_are_those_of_the_two_outcomes_mean_over_rows_and_classes(divergence):
    student, student64, teacher = drawn()
    p, q = (student64 / 1.5).sigmoid(), (teacher.double() / 1.5).sigmoid()

    def kl(x, y):
        return x * (x / y).log() + (1 - x) * ((1 - x) / (1 - y)).log()

    middle = (p + q) / 2
    each = {"reverse": 2.25 * kl(p, q), "js": 2.25 * (kl(q, middle) + kl(p, middle)) / 2, "tv": 1.5 * (p - q).abs()}
    method = build("kd", **KD | {"divergence": divergence})
    name = {"reverse": "kl"}.get(divergence, divergence)
    same(terms_of(method, student, teacher)[name], each[divergence].mean(), student, student64)


def test_tfkd_reg_makes_a_teacher_for_each_decision_of_the_labelled_rows():
    student, student64, _ = drawn()
    total = 0.0
    for row in (0, 1, 3, 4):
        for c in range(3):
            p = torch.tensor([0.99, 0.01] if LABELS[row, c] == 0 else [0.01, 0.99], dtype=torch.double) ** (1 / 5)
            p, z = p / p.sum(), student64[row, c] / 5
            own = torch.stack([-(1 + z.exp()).log(), -(1 + (-z).exp()).log()])
            total = total + 25 * (p * (p.log() - own)).sum()
    same(terms_of(build("tfkd_reg", **REG), student, None)["kl"], total / 12, student, student64)


def test_a_generator_raises_the_cross_entropy_of_every_decision():
    student, student64, teacher = drawn()
    p, q = student64.sigmoid(), teacher.double().sigmoid()
    expected = -(q * p.log() + (1 - q) * (1 - p).log()).mean()
    same(adversary.divergence(TASK, student, teacher, {"labels": LABELS}), expected, student, student64)


@pytest.mark.parametrize(
    ("name", "values", "part"),
    [
        ("kd", KD | {"standardize": True}, "kd.standardize: true"),
        ("kd", KD | {"decoupled": True}, "kd.decoupled: true"),
        ("dist", DIST | {"row_alpha": 2}, "dist.row_alpha: 2"),
    ],
)
def test_what_means_nothing_for_two_outcomes_is_refused_at_once_and_when_built(name, values, part):
    with pytest.raises(UserError, match=part):
        build(name, **values)
    data = SimpleNamespace(labels=None, has_transfer=False)
    config = registry.load(name).Config(**values)
    with pytest.raises(UserError, match=part):
        registry.load(name).check(SimpleNamespace(sections={name: config}, task="multi_label", data=data))
    assert class_rows.counted(TASK) == 2
