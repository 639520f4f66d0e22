"""ft is the task loss, smoothed or not, and asks nothing of a teacher."""

import pytest
import torch

from distill.methods import registry
from distill.methods.base import Distillation, Setup
from distill.tasks.registry import load_task
from tests.helpers import reference, tiny

TASK = load_task("qa")
FT = registry.load("ft")


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["bert", "distilbert", "deberta-v2"])
def test_value_and_gradient_are_the_formula(kind, smoothing):
    student, _, double, _ = reference.pair(kind)
    batch = tiny.batch()
    method = FT(FT.Config(task_weight=3, label_smoothing=smoothing), Setup(TASK, student.config, student.config))
    terms = Distillation(student, method, None).train()(**batch)
    terms["loss"].backward()
    expected = reference.task(reference.outputs(double, batch)[0], batch, smoothing)
    (3 * expected).backward()
    reference.same_value(terms["task"], expected)
    reference.same_value(terms["loss"], 3 * expected)
    reference.same_gradients(student, double)


def test_nothing_is_needed_and_nothing_is_added():
    student = tiny.model()
    method = FT(FT.Config(task_weight=1, label_smoothing=0), Setup(TASK, student.config, student.config))
    assert method.needs == frozenset() and not FT.artifacts and not FT.copies
    assert not list(method.parameters())
    assert torch.equal(*(Distillation(student, method, None)(**tiny.batch())[name] for name in ("loss", "task")))
