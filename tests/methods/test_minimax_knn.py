"""minimax_knn: the candidates that are farthest from the teacher, in value and gradient, chosen without noise."""

import pytest
import torch

from distill.errors import UserError
from distill.methods import registry
from distill.methods.base import Distillation, Setup
from distill.signals.teacher import OnlineTeacher
from distill.tasks.registry import load_task
from tests.helpers import neighbours, reference, text, tiny

MINIMAX = registry.load("minimax_knn")
VALUES = {"task_weight": 0.5, "kl_alpha": 0.25, "candidate_alpha": 2, "temperature": 3, "selected": 2}


def build(student, teacher, task, candidates, **changes):
    setup = Setup(task, student.config, teacher.config, candidates=candidates)
    method = MINIMAX(MINIMAX.Config(**VALUES | changes), setup)
    return Distillation(student, method, OnlineTeacher(teacher, task, hidden=False, precision="fp32")).train()


def farthest(distances, count):
    """The largest distances of one row."""
    return sorted(distances, key=lambda value: -value.item())[:count]


def test_value_and_gradient_are_the_formula():
    student, teacher, student64, teacher64 = reference.pair()
    task, batch = load_task("qa"), tiny.batch()
    candidates = neighbours.candidates(task, rows=3, per_row=5)
    objective = build(student, teacher, task, candidates)
    terms = objective(**batch)
    terms["loss"].backward()
    logits, _ = reference.outputs(student64, batch)
    with torch.no_grad():
        target, _ = reference.outputs(teacher64, batch)
    task_loss, kl = reference.task(logits, batch), reference.soft(logits, target, batch, 3)
    rows = [
        [neighbours.qa_distance(student64, one, 3) for one in neighbours.of_row(candidates, row)] for row in (0, 1, 2)
    ]
    candidate_kl = sum(value for row in rows for value in farthest(row, 2)) / 6
    expected = {"task": task_loss, "kl": kl, "candidate_kl": candidate_kl}
    expected["loss"] = 0.5 * task_loss + 0.25 * kl + 2 * candidate_kl
    expected["loss"].backward()
    assert set(terms) == set(expected)
    for name, value in expected.items():
        reference.same_value(terms[name], value)
    reference.same_gradients(student, student64)
    reference.teacher_is_left_alone(objective, teacher, student)


@pytest.mark.parametrize(("name", "labels"), [("classification", text.CLASSES), ("regression", ())])
def test_value_and_gradient_are_the_formula_for_texts(name, labels):
    task = load_task(name, labels=labels)
    channels = len(labels) or 1
    student = text.model(width=8, seed=1, channels=channels)
    teacher = text.model("deberta-v2", width=12, seed=2, channels=channels)
    student64, batch = tiny.double(student), text.batch(numeric=not labels)
    candidates = neighbours.candidates(task, rows=3, per_row=5)
    terms = build(student, teacher, task, candidates)(**batch)
    terms["candidate_kl"].backward()
    expected = 0.0
    for row in range(3):
        given = neighbours.of_row(candidates, row)
        distances = [neighbours.text_distance(student64, one, 3, regression=not labels) for one in given]
        expected = expected + sum(farthest(distances, 2)) / 6
    expected.backward()
    reference.same_value(terms["candidate_kl"], expected)
    reference.same_gradients(student, student64)


def test_the_selected_are_farther_from_the_teacher_than_the_others():
    student, teacher, student64, _ = reference.pair()
    task = load_task("qa")
    candidates = neighbours.candidates(task, rows=3, per_row=6)
    method = build(student, teacher, task, candidates).method
    picked, _ = method.select(torch.tensor([1]), student)
    chosen = {
        tuple(ids[mask.bool()].tolist())
        for ids, mask in zip(picked["input_ids"], picked["attention_mask"], strict=True)
    }
    given = neighbours.of_row(candidates, 1)
    distances = {tuple(one[0].tolist()): neighbours.qa_distance(student64, one, 3).item() for one in given}
    assert len(chosen) == 2
    others = [value for ids, value in distances.items() if ids not in chosen]
    assert min(distances[ids] for ids in chosen) > max(others)


def test_dropout_plays_no_part_in_the_choice_but_in_the_loss():
    task, batch = load_task("qa"), tiny.batch()
    teacher = tiny.model("deberta-v2", layers=2, width=12, seed=2)
    student = tiny.model(seed=1, hidden_dropout_prob=0.5)
    objective = build(student, teacher, task, neighbours.candidates(task, rows=3, per_row=6))
    state = torch.get_rng_state()
    first, _ = objective.method.select(batch["index"], student)
    torch.testing.assert_close(torch.get_rng_state(), state, rtol=0, atol=0)  # no random number was drawn
    torch.manual_seed(99)
    again, _ = objective.method.select(batch["index"], student)
    assert torch.equal(first["input_ids"], again["input_ids"])
    assert student.training
    assert objective(**batch)["candidate_kl"] != objective(**batch)["candidate_kl"]


def test_the_choice_follows_the_student():
    task, batch = load_task("qa"), tiny.batch()
    teacher = tiny.model("deberta-v2", layers=2, width=12, seed=2)
    candidates = neighbours.candidates(task, rows=3, per_row=6)
    student, chosen = tiny.model(seed=1), []
    for scale in (1, -6):
        with torch.no_grad():
            student.qa_outputs.weight.mul_(scale)
        picked, _ = build(student, teacher, task, candidates, selected=1).method.select(batch["index"], student)
        chosen.append([ids[ids > 0].tolist() for ids in picked["input_ids"]])
    assert chosen[0] != chosen[1]


def test_more_padding_changes_no_term():
    student, teacher, *_ = reference.pair()
    task = load_task("qa")
    objective = build(student, teacher, task, neighbours.candidates(task, rows=3, per_row=4))
    narrow, wide = objective(**tiny.batch()), objective(**tiny.wider(tiny.batch(), 9))
    for name in narrow:
        torch.testing.assert_close(wide[name], narrow[name], rtol=1e-5, atol=1e-6)


def test_all_candidates_selected_is_knn_with_all():
    student, teacher, *_ = reference.pair()
    task, batch = load_task("qa"), tiny.batch()
    candidates = neighbours.candidates(task, rows=3, per_row=3)
    knn = registry.load("knn")
    values = {name: value for name, value in VALUES.items() if name != "selected"}
    setup = Setup(task, student.config, teacher.config, candidates=candidates)
    signals = OnlineTeacher(teacher, task, hidden=False, precision="fp32")
    other = Distillation(student, knn(knn.Config(**values, neighbours=3), setup), signals)
    own = build(student, teacher, task, candidates, selected=3)(**batch)
    torch.testing.assert_close(own["candidate_kl"], other(**batch)["candidate_kl"])


def test_more_selected_than_candidates_are_refused_before_any_stage():
    params = neighbours.params({"minimax_knn": MINIMAX.Config(**VALUES | {"selected": 9})}, candidates=8)
    with pytest.raises(UserError, match=r"params.yaml: minimax_knn.selected: 9, but each training row has 8"):
        MINIMAX.check(params)
    MINIMAX.check(neighbours.params({"minimax_knn": MINIMAX.Config(**VALUES)}, candidates=8))
