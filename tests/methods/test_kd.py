"""kd: task loss and soft targets, in value and gradient; the teacher is left alone."""

import math

import pytest
import torch

from distill.errors import UserError
from distill.methods import registry
from distill.methods.base import Distillation, Setup
from distill.signals.teacher import OnlineTeacher
from distill.tasks.registry import load_task
from distill.training.objective import Progress
from tests.helpers import reference, tiny

TASK = load_task("qa")
KD = registry.load("kd")
PLAIN = {
    "divergence": "forward",
    "standardize": False,
    "decoupled": False,
    "decoupled_alpha": 1,
    "decoupled_beta": 8,
}


def build(student, teacher, **changes):
    config = KD.Config(**{"task_weight": 0.5, "kl_alpha": 10, "temperature": 2} | PLAIN | changes)
    signals = OnlineTeacher(teacher, TASK, hidden=False, precision="fp32")
    return Distillation(student, KD(config, Setup(TASK, student.config, teacher.config)), signals).train()


@pytest.mark.parametrize("temperature", [1, 2, 5.5])
@pytest.mark.parametrize(("student_kind", "teacher_kind"), [("distilbert", "bert"), ("deberta-v2", "deberta-v2")])
def test_value_and_gradient_are_the_formula(student_kind, teacher_kind, temperature):
    student, teacher, student64, teacher64 = reference.pair(student_kind, teacher_kind)
    batch = tiny.batch()
    terms = build(student, teacher, temperature=temperature)(**batch)
    terms["loss"].backward()
    logits, target = reference.outputs(student64, batch)[0], reference.outputs(teacher64, batch)[0].detach()
    task, kl = reference.task(logits, batch), reference.soft(logits, target, batch, temperature)
    (0.5 * task + 10 * kl).backward()
    assert list(terms) == ["loss", "task", "kl"]
    for name, expected in {"task": task, "kl": kl, "loss": 0.5 * task + 10 * kl}.items():
        reference.same_value(terms[name], expected, temperature)
    reference.same_gradients(student, student64, temperature)


def test_the_teacher_is_left_alone_even_where_it_has_dropout():
    student = tiny.model("bert", seed=1)
    teacher = tiny.model("bert", seed=2, hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5).train()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    objective = build(student, teacher)
    first, again = objective(**tiny.batch()), objective(**tiny.batch())
    assert torch.equal(first["kl"], again["kl"])
    first["loss"].backward()
    torch.optim.SGD(objective.parameters(), 0.1).step()
    reference.teacher_is_left_alone(objective, teacher, student)
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    with torch.enable_grad():
        assert not objective._teacher[0](tiny.batch()).logits.requires_grad


def test_the_teacher_gets_token_types_even_where_the_student_takes_none():
    student, teacher = tiny.model("distilbert", seed=1), tiny.model("bert", seed=2)
    objective, batch = build(student, teacher), tiny.batch()
    swapped = batch | {"token_type_ids": 1 - batch["token_type_ids"]}
    assert torch.equal(objective(**batch)["task"], objective(**swapped)["task"])
    assert not torch.equal(objective(**batch)["kl"], objective(**swapped)["kl"])


def test_more_padding_changes_no_term():
    student, teacher, *_ = reference.pair()
    objective, batch = build(student, teacher), tiny.batch()
    narrow, wide = objective(**batch), objective(**tiny.wider(batch, 9))
    for name in narrow:
        torch.testing.assert_close(wide[name], narrow[name], rtol=1e-5, atol=1e-6)


def test_weights_follow_their_schedules():
    student, teacher, *_ = reference.pair()
    objective = build(
        student,
        teacher,
        task_weight={"value": 2, "schedule": "cosine_growth", "warmup": 0.1},
        kl_alpha={"value": 4, "schedule": "cosine_descent", "warmup": 0.1},
    )
    for step in (0, 1, 11, 18, 19):
        progress = step / 19  # 0 in the first step, 1 in the last: schedules reach their ends
        objective.set_progress(Progress(step, 20, 0))
        terms = objective(**tiny.batch())
        angle = math.pi / 2 * max(progress - 0.1, 0) / 0.9
        expected = 2 * (1 - math.cos(angle)) * terms["task"] + 4 * math.cos(angle) * terms["kl"]
        torch.testing.assert_close(terms["loss"], expected)


def test_signals_without_what_the_method_needs_are_refused():
    student = tiny.model()
    method = KD(
        KD.Config(task_weight=1, kl_alpha=1, temperature=2, **PLAIN), Setup(TASK, student.config, student.config)
    )
    with pytest.raises(UserError, match="lack logits"):
        Distillation(student, method, None)
