"""tfkd_self: soft targets from a frozen copy of the student, in value and gradient."""

import pytest
import torch

from distill.errors import UserError
from distill.methods import registry
from distill.methods.base import Distillation, Setup
from distill.signals.teacher import OnlineTeacher
from distill.tasks.registry import load_task
from tests.helpers import reference, tiny

TASK = load_task("qa")
SELF = registry.load("tfkd_self")


def build(student, copy, **changes):
    config = SELF.Config(**{"task_weight": 0.1, "kl_alpha": 0.9, "temperature": 4} | changes)
    signals = OnlineTeacher(copy, TASK, hidden=False, precision="fp32")
    return Distillation(student, SELF(config, Setup(TASK, student.config, student.config)), signals).train()


@pytest.mark.parametrize("temperature", [1, 4, 20])
@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_value_and_gradient_are_the_formula(kind, temperature):
    student, fine_tuned = tiny.model(kind, seed=1), tiny.model(kind, seed=2)
    student64, fine_tuned64, batch = tiny.double(student), tiny.double(fine_tuned), tiny.batch()
    terms = build(student, fine_tuned, temperature=temperature)(**batch)
    terms["loss"].backward()
    logits, target = reference.outputs(student64, batch)[0], reference.outputs(fine_tuned64, batch)[0].detach()
    task, kl = reference.task(logits, batch), reference.soft(logits, target, batch, temperature)
    (0.1 * task + 0.9 * kl).backward()
    for name, expected in {"task": task, "kl": kl, "loss": 0.1 * task + 0.9 * kl}.items():
        reference.same_value(terms[name], expected, temperature)
    reference.same_gradients(student, student64, temperature)


def test_from_its_own_weights_it_starts_at_no_distance_and_is_held_there():
    student, copy = tiny.model(seed=1), tiny.model(seed=1)
    objective, batch = build(student, copy), tiny.batch()
    terms = objective(**batch)
    assert terms["kl"].abs() < 1e-6
    terms["loss"].backward()
    torch.optim.SGD(objective.parameters(), 0.1).step()
    assert objective(**batch)["kl"] > 1e-4
    reference.teacher_is_left_alone(objective, copy, student)


def test_more_padding_changes_no_term():
    objective, batch = build(tiny.model(seed=1), tiny.model(seed=2)), tiny.batch()
    narrow, wide = objective(**batch), objective(**tiny.wider(batch, 9))
    for name in narrow:
        torch.testing.assert_close(wide[name], narrow[name], rtol=1e-5, atol=1e-6)


def test_it_learns_from_the_students_own_copy_which_must_run_along():
    assert SELF.taught_by == "student" and "model" in SELF.needs
    student = tiny.model()
    method = SELF(SELF.Config(task_weight=1, kl_alpha=1, temperature=1), Setup(TASK, student.config, student.config))

    class Cached:
        provides = frozenset({"logits"})

    with pytest.raises(UserError, match="lack model"):
        Distillation(student, method, Cached())
