"""Soft targets that weigh differently from row to row: the weighted mean, as a formula in float64; 0 is left out."""

import pytest
import torch

from distill.losses.terms import TEACHER_WEIGHT, weighted_mean
from distill.tasks.classification import TASK as Classification
from distill.tasks.qa import TASK as QuestionAnswering
from distill.tasks.regression import TASK as Regression
from tests.helpers import reference, text, tiny

WEIGHTS = [0.25, 0.0, 2.0]
CASES = {
    "classification": (Classification(labels=text.CLASSES), text.batch(), (3, 3)),
    "regression": (Regression(), text.batch(numeric=True), (3, 1)),
    "qa": (QuestionAnswering(), tiny.batch(), (3, 12, 2)),
}


def sides(shape):
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))


def weighted(batch, values):
    return batch | {TEACHER_WEIGHT: torch.tensor(values)}


@pytest.mark.parametrize("name", CASES)
def test_soft_is_the_weighted_mean_of_its_rows(name):
    task, batch, shape = CASES[name]
    student, teacher = sides(shape)
    single = student.clone().requires_grad_()
    found = task.soft(single, teacher, weighted(batch, WEIGHTS), 2.0)
    rows = task.soft_rows(student, teacher, batch, 2.0).double()
    reference.same_value(found, (0.25 * rows[0] + 2.0 * rows[2]) / 2.25)
    found.backward()
    assert single.grad[1].abs().sum() == 0 and single.grad[2].abs().sum() > 0


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("loss", ["soft", "logit_mse"])
def test_equal_weights_change_nothing_and_no_weight_at_all_is_no_loss(name, loss):
    task, batch, shape = CASES[name]
    student, teacher = sides(shape)
    further = (2.0,) if loss == "soft" else ()
    plain = getattr(task, loss)(student, teacher, batch, *further)
    even = getattr(task, loss)(student, teacher, weighted(batch, [0.5] * 3), *further)
    reference.same_value(even, plain.double())
    single = student.clone().requires_grad_()
    none = getattr(task, loss)(single, teacher, weighted(batch, [0.0] * 3), *further)
    none.backward()
    assert none == 0 and single.grad.abs().sum() == 0


def test_logit_mse_of_text_tasks_is_the_weighted_mean_of_its_rows():
    for name in ("classification", "regression"):
        task, batch, shape = CASES[name]
        student, teacher = sides(shape)
        rows = (student.double() - teacher.double()).square().mean(1)
        expected = (0.25 * rows[0] + 2.0 * rows[2]) / 2.25
        reference.same_value(task.logit_mse(student, teacher, weighted(batch, WEIGHTS)), expected)


def test_logit_mse_of_questions_gives_each_real_token_the_weight_of_its_row():
    task, batch, shape = CASES["qa"]
    student, teacher = sides(shape)
    squared, above, below = (student.double() - teacher.double()).square(), 0.0, 0.0
    for row, (length, weight) in enumerate(zip((9, 5, 7), WEIGHTS, strict=True)):
        above = above + weight * squared[row, :length].sum()
        below += weight * 2 * length
    reference.same_value(task.logit_mse(student, teacher, weighted(batch, WEIGHTS)), above / below)


def test_without_the_column_the_mean_is_torchs_own():
    rows = torch.randn(7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(weighted_mean(rows, {}), rows.mean())
