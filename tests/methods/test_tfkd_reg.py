"""tfkd_reg: the hand-made teacher, for tokens and for classes, in value and gradient."""

import math

import pytest
import torch

from distill.errors import UserError
from distill.methods import registry
from distill.methods.base import Distillation, Setup
from distill.models.forward import Outputs
from distill.tasks.registry import load_task
from tests.helpers import reference, tiny

TASK = load_task("qa")
CLASSES = load_task("classification", labels=["a", "b", "c"])
REG = registry.load("tfkd_reg")
VALUES = {"task_weight": 0.9, "kl_alpha": 0.1, "temperature": 20, "correct": 0.99, "soften": "logits"}


def method(task=TASK, **changes):
    config = tiny.model().config
    return REG(REG.Config(**VALUES | changes), Setup(task, config, config))


def kl_row(logits, gold, correct, temperature, soften):
    """KL of one row of existing classes, from the definition."""
    count = len(logits)
    p = torch.full((count,), (1 - correct) / (count - 1), dtype=torch.double)
    p[gold] = correct
    assert p.sum().item() == pytest.approx(1)
    if soften == "logits":
        q = p ** (1 / temperature)
        q = q / q.sum()
        own = reference.log_p(logits / temperature)
        return temperature**2 * sum(q[i] * (q[i].log() - own[i]) for i in range(count))
    q = (p / temperature).exp()
    q = q / q.sum()
    own = reference.log_p(logits)
    return sum(q[i] * (q[i].log() - own[i]) for i in range(count))


@pytest.mark.parametrize("soften", ["logits", "probabilities"])
@pytest.mark.parametrize(("temperature", "correct"), [(20, 0.99), (1, 0.9), (3, 0.5)])
def test_value_and_gradient_are_the_formula_over_tokens(temperature, correct, soften):
    student, _, student64, _ = reference.pair()
    batch = tiny.batch()
    own = method(temperature=temperature, correct=correct, soften=soften)
    terms = Distillation(student, own, None).train()(**batch)
    terms["loss"].backward()
    logits = reference.outputs(student64, batch)[0]
    kl = 0.0
    for side, column in enumerate(("start_positions", "end_positions")):
        for row, length in enumerate(reference.lengths(batch)):
            gold = batch[column][row].item()
            kl = kl + kl_row(logits[row, :length, side], gold, correct, temperature, soften) / (2 * len(logits))
    task = reference.task(logits, batch)
    (0.9 * task + 0.1 * kl).backward()
    for name, expected in {"task": task, "kl": kl, "loss": 0.9 * task + 0.1 * kl}.items():
        reference.same_value(terms[name], expected, temperature)
    reference.same_gradients(student, student64, temperature)


@pytest.mark.parametrize("soften", ["logits", "probabilities"])
def test_value_and_gradient_are_the_formula_over_classes(soften):
    values = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0], [0.2, 0.1, 0.0], [-4.0, 1.0, 2.0]])
    logits, logits64 = values.clone().requires_grad_(), values.double().requires_grad_()
    labels = [2, 1, 0, 1]
    terms = method(CLASSES, temperature=5, soften=soften).terms(
        {"labels": torch.tensor(labels), "attention_mask": torch.ones(4, 6, dtype=torch.long)}, Outputs(logits), None
    )
    terms["kl"].backward()
    expected = sum(kl_row(logits64[i], gold, 0.99, 5, soften) for i, gold in enumerate(labels)) / 4
    expected.backward()
    reference.same_value(terms["kl"], expected)
    torch.testing.assert_close(logits.grad.double(), logits64.grad, rtol=1e-4, atol=1e-6)


def test_rows_whose_position_is_outside_the_window_do_not_count():
    torch.manual_seed(0)
    values, batch = torch.randn(3, 12, 2), tiny.batch()
    outside = batch | {
        "start_positions": torch.tensor([3, -1, 2]),
        "end_positions": torch.tensor([8, 5, 40]),  # the second row has 5 tokens: position 5 is padding
    }
    logits = values.clone().requires_grad_()
    found = method().terms(outside, Outputs(logits), None)["kl"]
    found.backward()
    start = (
        kl_row(values[0, :9, 0].double(), 3, 0.99, 20, "logits")
        + kl_row(values[2, :7, 0].double(), 2, 0.99, 20, "logits")
    ) / 2
    end = kl_row(values[0, :9, 1].double(), 8, 0.99, 20, "logits")
    reference.same_value(found, (start + end) / 2)
    assert not logits.grad[1].any() and not logits.grad[2, :, 1].any() and logits.grad[2, :7, 0].all()
    nowhere = batch | dict.fromkeys(("start_positions", "end_positions"), torch.tensor([-1, -1, 99]))
    assert method().terms(nowhere, Outputs(values), None)["kl"] == 0


@pytest.mark.parametrize("soften", ["logits", "probabilities"])
def test_more_padding_changes_no_term(soften):
    student, *_ = reference.pair()
    objective, batch = Distillation(student, method(soften=soften), None).train(), tiny.batch()
    narrow, wide = objective(**batch), objective(**tiny.wider(batch, 9))
    for name in narrow:
        torch.testing.assert_close(wide[name], narrow[name], rtol=1e-5, atol=1e-6)


def test_a_student_that_says_what_the_teacher_says_has_nothing_to_learn():
    p = torch.tensor([[0.99, 0.005, 0.005]])
    batch = {"labels": torch.tensor([0])}
    assert method(CLASSES).terms(batch, Outputs(p.log()), None)["kl"].abs() < 1e-5
    softened = p / 20
    assert method(CLASSES, soften="probabilities").terms(batch, Outputs(softened), None)["kl"].abs() < 1e-6


def test_at_temperature_one_it_is_label_smoothing_less_a_constant():
    """CE against p is KL plus p's entropy: ε spread over the others, C/(C−1) of it in the even form."""
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 3, dtype=torch.double), torch.tensor([0, 2, 1, 1, 0])
    own = method(CLASSES, temperature=1, correct=0.9).terms({"labels": labels}, Outputs(logits), None)["kl"]
    smoothed = CLASSES.loss(logits, {"labels": labels}, smoothing=0.1 * 3 / 2)
    entropy = -(0.9 * math.log(0.9) + 2 * 0.05 * math.log(0.05))
    assert own.item() == pytest.approx(smoothed.item() - entropy, abs=1e-5)


def test_nothing_is_asked_of_a_teacher():
    assert REG.needs == frozenset() and not list(method().parameters())


def test_regression_is_refused_before_any_training_and_says_why():
    with pytest.raises(UserError, match="'tfkd_reg': task regression: it has no classes .* out of methods$"):
        REG.check_task("regression")
    REG.check_task("qa"), REG.check_task("classification")
    with pytest.raises(UserError, match="has no classes"):
        method(load_task("regression"))


@pytest.mark.parametrize("change", [{"correct": 0}, {"correct": 1}, {"temperature": 0}, {"soften": "labels"}])
def test_values_that_mean_nothing_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        REG.Config(**VALUES | change)
