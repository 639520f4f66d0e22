"""dist: correlations by row and by class in value and gradient; weights that mean nothing are refused."""

from types import SimpleNamespace

import pytest
import torch

from distill.errors import UserError
from distill.methods import registry
from distill.methods.base import Setup
from distill.models.forward import Outputs
from distill.tasks.registry import load_task
from tests.helpers import reference, states, text, tiny
from tests.losses.test_correlation import by_hand

DIST = registry.load("dist")
QA, NUMBER = load_task("qa"), load_task("regression")
CLASSES, TWO = (load_task("classification", labels=names) for names in (("a", "b", "c"), ("a", "b")))
VALUES = {"task_weight": 1, "row_alpha": 2, "class_alpha": 3, "temperature": 1.5}
ROWS = VALUES | {"class_alpha": 0}


def build(task, **changes):
    shape = tiny.model().config
    return DIST(DIST.Config(**VALUES | changes), Setup(task, shape, shape))


def shares(logits):
    return (logits / 1.5).exp() / (logits / 1.5).exp().sum(-1, keepdim=True)


def test_classes_by_row_and_by_class_in_value_and_gradient():
    draw = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(3, 3, generator=draw) for _ in range(2))
    own, own64, other = student.clone().requires_grad_(), student.double().requires_grad_(), teacher.requires_grad_()
    method, batch = build(CLASSES), text.batch()
    terms = method.terms(batch, Outputs(own), Outputs(other))
    assert list(terms) == list(method.weights()) == ["task", "row", "class"]
    p, q = shares(own64), shares(teacher.detach().double())
    row = sum(1 - by_hand(p[i], q[i]) for i in range(3)) / 3
    each = sum(1 - by_hand(p[:, c], q[:, c]) for c in range(3)) / 3
    reference.same_value(terms["row"], row)
    reference.same_value(terms["class"], each)
    (2 * terms["row"] + 3 * terms["class"]).backward()
    (2 * row + 3 * each).backward()
    torch.testing.assert_close(own.grad.double(), own64.grad, rtol=1e-3, atol=1e-6)
    assert other.grad is None


def test_questions_by_row_over_real_tokens_in_value_and_gradient():
    student, teacher = states.models_of()
    student64, teacher64 = tiny.double(student), tiny.double(teacher).eval()
    objective, batch = states.objective_of("dist", ROWS, student, teacher), tiny.batch()
    terms = objective(**batch)
    terms["loss"].backward()
    logits = reference.outputs(student64, batch)[0]
    target = reference.outputs(teacher64, batch)[0].detach()
    row = 0.0
    for side in (0, 1):
        for i, n in enumerate(reference.lengths(batch)):
            row = row + (1 - by_hand(shares(logits[i, :n, side]), shares(target[i, :n, side]))) / (2 * len(logits))
    total = reference.task(logits, batch) + 2 * row
    total.backward()
    assert list(terms) == ["loss", "task", "row"]
    reference.same_value(terms["row"], row)
    reference.same_value(terms["loss"], total)
    reference.same_gradients(student, student64)
    reference.teacher_is_left_alone(objective, teacher, student)


def test_more_padding_changes_no_term():
    states.check_padding("dist", ROWS)


def test_it_trains_and_a_killed_training_goes_on_to_the_same_bytes(tmp_path):
    states.check_trains_and_resumes("dist", ROWS, "row", tmp_path)


def test_rows_weigh_as_the_teacher_says():
    draw = torch.Generator().manual_seed(2)
    student, teacher = (torch.randn(3, 3, generator=draw) for _ in range(2))
    method, batch = build(CLASSES), text.batch()
    weight = torch.tensor([1.0, 0.0, 1.0])
    weighed = method.terms(batch | {"teacher_weight": weight}, Outputs(student), Outputs(teacher))
    p, q = shares(student[[0, 2]]), shares(teacher[[0, 2]])
    torch.testing.assert_close(weighed["row"], sum(1 - by_hand(p[i], q[i]) for i in range(2)) / 2)
    torch.testing.assert_close(weighed["class"], sum(1 - by_hand(p[:, c], q[:, c]) for c in range(3)) / 3)


def test_two_classes_learn_by_class_alone():
    draw = torch.Generator().manual_seed(3)
    student, teacher = (torch.randn(3, 2, generator=draw) for _ in range(2))
    method = build(TWO, row_alpha=0)
    terms = method.terms(text.batch(classes=2), Outputs(student), Outputs(teacher))
    assert list(terms) == list(method.weights()) == ["task", "class"]
    torch.testing.assert_close(terms["class"], 1 - by_hand(shares(student)[:, 0], shares(teacher)[:, 0]))


def params(task, labels=None, **changes):
    data = SimpleNamespace(labels=labels)
    return SimpleNamespace(sections={"dist": DIST.Config(**VALUES | changes)}, task=task, data=data)


@pytest.mark.parametrize(
    ("task", "built", "labels", "changes", "message"),
    [
        ("qa", QA, None, {}, r"dist\.class_alpha: 3, but the classes of a question are its tokens.*: set it to 0"),
        ("classification", TWO, ["a", "b"], {}, r"dist\.row_alpha: 2, .* 1 or -1, whatever they are: set it to 0"),
        ("qa", QA, None, {"row_alpha": 0, "class_alpha": 0}, r"dist: row_alpha and class_alpha are 0"),
    ],
)
def test_what_means_nothing_is_refused_before_any_stage_or_before_the_student(task, built, labels, changes, message):
    with pytest.raises(UserError, match=message):
        DIST.check(params(task, labels, **changes))
    with pytest.raises(UserError, match=message):
        build(built, **changes)


def test_numbers_are_refused_before_any_stage_or_before_the_student():
    message = r"methods: 'dist': task regression: it has a number .* take it out of methods"
    with pytest.raises(UserError, match=message):
        DIST.check_task("regression")
    with pytest.raises(UserError, match=message):
        build(NUMBER)


def test_what_means_something_is_not_refused():
    DIST.check(params("qa", class_alpha=0))
    DIST.check(params("classification", ["a", "b"], row_alpha=0))
    DIST.check(params("classification", ["a", "b", "c"]))
    DIST.check(params("classification"))  # the data know the classes
