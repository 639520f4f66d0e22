"""knn: soft targets on the nearest candidates, in value and gradient; what a row's candidates are."""

import numpy as np
import pytest
import torch

from distill.errors import UserError
from distill.methods import registry
from distill.methods.base import Distillation, Setup
from distill.signals.teacher import OnlineTeacher
from distill.tasks.registry import load_task
from tests.helpers import neighbours, reference, text, tiny

KNN = registry.load("knn")
VALUES = {"task_weight": 0.5, "kl_alpha": 0.25, "candidate_alpha": 2, "temperature": 3, "neighbours": 2}


def build(student, teacher, task, candidates, **changes):
    setup = Setup(task, student.config, teacher.config, candidates=candidates)
    method = KNN(KNN.Config(**VALUES | changes), setup)
    return Distillation(student, method, OnlineTeacher(teacher, task, hidden=False, precision="fp32")).train()


def test_value_and_gradient_are_the_formula():
    student, teacher, student64, teacher64 = reference.pair()
    task, batch = load_task("qa"), tiny.batch()
    candidates = neighbours.candidates(task, rows=3, per_row=4)
    objective = build(student, teacher, task, candidates)
    terms = objective(**batch)
    terms["loss"].backward()
    logits, _ = reference.outputs(student64, batch)
    with torch.no_grad():
        target, _ = reference.outputs(teacher64, batch)
    task_loss, kl = reference.task(logits, batch), reference.soft(logits, target, batch, 3)
    near = [neighbours.of_row(candidates, row)[c] for row in range(3) for c in (0, 1)]
    candidate_kl = sum(neighbours.qa_distance(student64, one, 3) for one in near) / 6
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
    candidates = neighbours.candidates(task, rows=3, per_row=4)
    terms = build(student, teacher, task, candidates)(**batch)
    terms["candidate_kl"].backward()
    near = [neighbours.of_row(candidates, row)[c] for row in range(3) for c in (0, 1)]
    expected = sum(neighbours.text_distance(student64, one, 3, regression=not labels) for one in near) / 6
    expected.backward()
    assert expected > 0.01
    reference.same_value(terms["candidate_kl"], expected)
    reference.same_gradients(student, student64)


def test_more_padding_changes_no_term():
    student, teacher, *_ = reference.pair()
    task = load_task("qa")
    objective = build(student, teacher, task, neighbours.candidates(task, rows=3, per_row=2))
    narrow, wide = objective(**tiny.batch()), objective(**tiny.wider(tiny.batch(), 9))
    for name in narrow:
        torch.testing.assert_close(wide[name], narrow[name], rtol=1e-5, atol=1e-6)


def test_candidates_follow_the_rows_of_the_batch():
    student, teacher, *_ = reference.pair()
    task, batch = load_task("qa"), tiny.batch()
    objective = build(student, teacher, task, neighbours.candidates(task, rows=9, per_row=3))
    first = objective(**batch)["candidate_kl"]
    turned = {name: value.flip(0) for name, value in batch.items()}
    torch.testing.assert_close(objective(**turned)["candidate_kl"], first, rtol=1e-5, atol=1e-6)
    other = objective(**batch | {"index": torch.tensor([6, 7, 8])})["candidate_kl"]
    assert abs(other - first) > 1e-4


def test_more_neighbours_than_candidates_are_refused_with_both_numbers():
    student, teacher, *_ = reference.pair()
    task = load_task("qa")
    with pytest.raises(UserError, match=r"knn.neighbours: 5, but each training row has 4 candidates: raise retr"):
        build(student, teacher, task, neighbours.candidates(task, rows=3, per_row=4), neighbours=5)
    with pytest.raises(UserError, match="dvc repro retrieve"):
        build(student, teacher, task, None)


def test_more_neighbours_than_candidates_are_refused_before_any_stage():
    params = neighbours.params({"knn": KNN.Config(**VALUES | {"neighbours": 9})}, candidates=8)
    with pytest.raises(UserError, match=r"params.yaml: knn.neighbours: 9, but each training row has 8"):
        KNN.check(params)
    KNN.check(neighbours.params({"knn": KNN.Config(**VALUES)}, candidates=8))


def test_the_teachers_logits_are_those_that_were_stored():
    task = load_task("qa")
    candidates = neighbours.candidates(task, rows=3, per_row=4)
    batch, logits = candidates.of(torch.tensor([2, 0]), 3)
    assert batch["input_ids"].shape[0] == 6 and logits.dtype == torch.float32
    wanted = [*neighbours.of_row(candidates, 2)[:3], *neighbours.of_row(candidates, 0)[:3]]
    for row, (ids, stored, _) in enumerate(wanted):
        length = len(ids)
        np.testing.assert_array_equal(batch["input_ids"][row, :length], ids)
        np.testing.assert_array_equal(logits[row, :length], stored)
        assert not logits[row, length:].any() and not batch["attention_mask"][row, length:].any()
