"""annealing: both phases in value and gradient, the temperatures, and the faults of public code."""

import pytest
import torch

from distill.errors import UserError
from distill.methods import registry
from distill.methods.base import Distillation, Setup
from distill.methods.shared import annealing_schedule
from distill.models.forward import Outputs
from distill.signals.teacher import OnlineTeacher
from distill.tasks.registry import load_task
from distill.training import phases
from distill.training.objective import Progress
from tests.helpers import reference, tiny

TASK = load_task("qa")
ANNEALING = registry.load("annealing")
VALUES = {"mse_weight": 3, "task_weight": 2, "tau_max": 7, "phase1_share": 0.7, "evaluations": 2}


def build(student, teacher, task=TASK, **changes):
    method = ANNEALING(ANNEALING.Config(**VALUES | changes), Setup(task, student.config, teacher.config))
    return Distillation(student, method, OnlineTeacher(teacher, task, hidden=False, precision="fp32")).train()


def in_phase(objective, phase, step=0, steps=1):
    objective.phases(tiny.training())
    objective.begin(phase)
    objective.set_progress(Progress(step, steps, 0))
    return objective


@pytest.mark.parametrize("step", [0, 4, 13])
@pytest.mark.parametrize(("student_kind", "teacher_kind"), [("distilbert", "bert"), ("deberta-v2", "deberta-v2")])
def test_phase_one_is_the_formula_in_value_and_gradient(student_kind, teacher_kind, step):
    student, teacher, student64, teacher64 = reference.pair(student_kind, teacher_kind)
    batch = tiny.batch()
    terms = in_phase(build(student, teacher), 0, step, 14)(**batch)
    terms["loss"].backward()
    logits, target = reference.outputs(student64, batch)[0], reference.outputs(teacher64, batch)[0].detach()
    tau = {0: 7, 4: 5, 13: 1}[step]
    factor = 1 - (tau - 1) / 7
    squares, count = 0.0, 0
    for row, length in enumerate(reference.lengths(batch)):
        squares = squares + ((logits[row, :length] - factor * target[row, :length]) ** 2).sum()
        count += 2 * length
    mse = squares / count
    (3 * mse).backward()
    assert list(terms) == ["loss", "mse"]
    reference.same_value(terms["mse"], mse)
    reference.same_value(terms["loss"], 3 * mse)
    reference.same_gradients(student, student64)


def test_phase_two_is_the_task_loss_alone_and_never_asks_the_teacher():
    student, teacher, student64, _ = reference.pair()
    batch = tiny.batch()
    objective = in_phase(build(student, teacher), 1)
    objective._teacher[0] = None
    terms = objective(**batch)
    terms["loss"].backward()
    expected = reference.task(reference.outputs(student64, batch)[0], batch)
    (2 * expected).backward()
    assert list(terms) == ["loss", "task"]
    reference.same_value(terms["loss"], 2 * expected)
    reference.same_gradients(student, student64)


@pytest.mark.parametrize("phase", [0, 1])
def test_more_padding_changes_no_term(phase):
    student, teacher, *_ = reference.pair()
    objective, batch = in_phase(build(student, teacher), phase, 3, 14), tiny.batch()
    narrow, wide = objective(**batch), objective(**tiny.wider(batch, 9))
    for name in narrow:
        torch.testing.assert_close(wide[name], narrow[name], rtol=1e-5, atol=1e-6)


def test_the_teacher_is_left_alone():
    student, teacher, *_ = reference.pair()
    objective = in_phase(build(student, teacher), 0)
    objective(**tiny.batch())["loss"].backward()
    reference.teacher_is_left_alone(objective, teacher, student)
    assert not list(objective.method.parameters())


def test_phase_one_keeps_the_best_by_the_selection_split_and_phase_two_what_the_run_says():
    student, teacher, *_ = reference.pair()
    first, second = build(student, teacher).phases(tiny.training())
    assert (first.share, first.changes) == (0.7, {"evaluations": 2, "keep": "best"})
    assert second.share == pytest.approx(0.3) and second.changes == {}
    assert phases.divide(20, [first, second]) == [14, 6]
    assert phases.divide(18, build(student, teacher, phase1_share=14 / 18).phases(tiny.training())) == [14, 4]


def schedule(steps, tau_max):
    return [annealing_schedule.tau(Progress(step, steps, 0).share, tau_max) for step in range(steps)]


def test_fourteen_epochs_in_seven_levels_are_two_epochs_each():
    assert schedule(14 * 5, 7) == [tau for tau in range(7, 0, -1) for _ in range(2 * 5)]
    assert [annealing_schedule.phi(share, 2) for share in (0, 0.49, 0.5, 1)] == [0.5, 0.5, 1, 1]


@pytest.mark.parametrize(("steps", "tau_max"), [(14, 7), (10, 7), (23, 7), (1000, 14), (7, 7), (9, 1), (30, 10)])
def test_every_level_is_held_for_equally_many_steps(steps, tau_max):
    found = schedule(steps, tau_max)
    counts = [found.count(tau) for tau in range(1, tau_max + 1)]
    assert sum(counts) == steps and max(counts) - min(counts) <= 1


@pytest.mark.parametrize("tau_max", [1, 2, 3, 7, 10, 14])
@pytest.mark.parametrize("steps", [2, 3, 5, 7, 10, 14, 15, 97, 1000])
def test_fault_temperature_overshoots_where_levels_do_not_divide_the_epochs(steps, tau_max):
    """Public code counts on below 1, to a factor above 1."""
    found = schedule(steps, tau_max)
    assert (found[0], found[-1]) == (tau_max, 1) and all(isinstance(tau, int) for tau in found)
    assert found == sorted(found, reverse=True)
    factors = [annealing_schedule.phi(Progress(step, steps, 0).share, tau_max) for step in range(steps)]
    assert factors[0] == pytest.approx(1 / tau_max) and factors[-1] == 1
    assert all(1 / tau_max - 1e-12 <= factor <= 1 for factor in factors)


@pytest.mark.parametrize("steps", [1, 2, 3, 6])
def test_fault_division_by_zero_where_there_are_fewer_epochs_than_levels(steps):
    """Public code divides by the whole number of epochs for a level, which is 0 then."""
    found = schedule(steps, 7)
    assert found[-1] == 1 and (steps == 1 or found[0] == 7)
    assert len(set(found)) == steps


def test_fault_broadcasting_one_column_against_a_row_on_regression():
    """(B, 1) − (B,) is (B, B): every student output would be compared with every teacher output."""
    task = load_task("regression")
    config = tiny.model().config
    method = ANNEALING(ANNEALING.Config(**VALUES), Setup(task, config, config))
    student = torch.tensor([[0.5], [-1.0], [2.0]], requires_grad=True)
    teacher = torch.tensor([[1.0], [3.0], [-2.0]])
    method.progress = Progress(0, 14, 0)
    batch = {"labels": torch.tensor([1.0, 2.0, 0.0]), "attention_mask": torch.ones(3, 4, dtype=torch.long)}
    loss = method.terms(batch, Outputs(student), Outputs(teacher))["mse"]
    loss.backward()
    gaps = [s - t / 7 for s, t in ((0.5, 1.0), (-1.0, 3.0), (2.0, -2.0))]
    assert loss.item() == pytest.approx(sum(gap**2 for gap in gaps) / 3)
    assert student.grad[:, 0].tolist() == pytest.approx([2 * gap / 3 for gap in gaps])
    method.phase = 1
    task_loss = method.terms(batch, Outputs(student), None)["task"].item()
    assert task_loss == pytest.approx(((0.5 - 1) ** 2 + (-1 - 2) ** 2 + 2.0**2) / 3)


def test_classification_compares_all_classes():
    task = load_task("classification", labels=["a", "b", "c"])
    config = tiny.model().config
    method = ANNEALING(ANNEALING.Config(**VALUES), Setup(task, config, config))
    method.progress = Progress(13, 14, 0)
    student, teacher = torch.randn(4, 3, dtype=torch.double), torch.randn(4, 3, dtype=torch.double)
    expected = sum((student[i, j] - teacher[i, j]) ** 2 for i in range(4) for j in range(3)) / 12
    found = method.terms({}, Outputs(student), Outputs(teacher))["mse"]
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_signals_without_logits_are_refused():
    student = tiny.model()
    method = ANNEALING(ANNEALING.Config(**VALUES), Setup(TASK, student.config, student.config))
    with pytest.raises(UserError, match="lack logits"):
        Distillation(student, method, None)


@pytest.mark.parametrize(
    "change", [{"tau_max": 0}, {"tau_max": 1.5}, {"phase1_share": 0}, {"phase1_share": 1}, {"evaluations": 0}]
)
def test_values_that_mean_nothing_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        ANNEALING.Config(**VALUES | change)
