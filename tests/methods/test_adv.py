"""adv: both kinds of steps in value and gradient, without a teacher; kill and resume. Texts: test_mate."""

import pytest
import torch

from distill.errors import UserError
from distill.methods import registry
from distill.methods.base import Distillation, Setup
from tests.helpers import masked, reference, tiny
from tests.methods.test_mate import TASKS, at, task_loss

ADV = registry.load("adv")
VALUES = {
    "task_weight": 0.5,
    "adversarial_weight": 3,
    "mask_probability": 0.3,
    "gumbel_temperature": 0.7,
    "generator_steps": 2,
    "student_steps": 3,
    "generator_learning_rate": 1e-3,
}


def build(name, student, proposer, **changes):
    setup = Setup(masked.task(name), student.config, student.config, 0, tiny.tokenizer(), generator=proposer)
    return Distillation(student, ADV(ADV.Config(**VALUES | changes), setup), None).train()


@pytest.mark.parametrize("name", TASKS)
def test_a_students_step_is_the_formula_in_value_and_gradient(name):
    student, _ = masked.models(name)
    student64, objective, batch = tiny.double(student), build(name, student, masked.generator()), masked.batch(name)
    changed, *_ = masked.draw(objective.method.adversary, batch, seed=5)
    assert (changed["input_ids"] != batch["input_ids"]).sum() >= 3
    torch.manual_seed(5)
    terms = at(objective, 2)(**batch)
    terms["loss"].backward()
    task, adversarial = (task_loss(name, masked.by_hand(student64, name, made), batch) for made in (batch, changed))
    total = 0.5 * task + 3 * adversarial
    total.backward()
    assert list(terms) == ["loss", "task", "adversarial"]
    for key, expected in {"task": task, "adversarial": adversarial, "loss": total}.items():
        reference.same_value(terms[key], expected)
    reference.same_gradients(student, student64)
    assert all(p.grad is None for p in objective.method.adversary.generator.parameters())
    assert not ADV.needs


@pytest.mark.parametrize("name", TASKS)
def test_a_generators_step_is_the_formula_in_value_and_gradient(name):
    student, _ = masked.models(name, "distilbert")
    proposer = masked.generator()
    student64, proposer64 = tiny.double(student).eval(), tiny.double(proposer)
    objective, batch = build(name, student, proposer), masked.batch(name)
    _, places, noise = masked.draw(objective.method.adversary, batch, seed=5)
    torch.manual_seed(5)
    terms = at(objective, 6)(**batch)
    terms["loss"].backward()
    embeddings = masked.attacked(proposer64, student64, batch, places, noise, 0.7)
    expected = task_loss(name, masked.by_hand(student64, name, batch, embeddings), batch)
    (-expected).backward()
    assert list(terms) == ["loss", "generator"]
    reference.same_value(terms["generator"], expected)
    reference.same_value(terms["loss"], -expected)
    reference.same_gradients(proposer, proposer64)
    assert max(p.grad.abs().max() for p in proposer.parameters() if p.grad is not None) > 1e-4
    assert all(p.grad is None and p.requires_grad for p in student.parameters())


@pytest.mark.parametrize("step", [0, 2])
def test_more_padding_changes_no_term(step):
    student, _ = masked.models("classification")
    objective, found = build("classification", student, masked.generator()), []
    for batch in (masked.batch("classification"), tiny.wider(masked.batch("classification"), 9)):
        torch.manual_seed(5)
        found.append(at(objective, step)(**batch))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


def test_a_killed_run_goes_on_with_generator_and_cycle_as_they_were(tmp_path):
    whole, killed, resumed = (
        build("classification", masked.models("classification")[0], masked.generator()) for _ in range(3)
    )
    masked.train(whole, tmp_path / "whole", 7)
    with pytest.raises(KeyboardInterrupt):
        masked.train(killed, tmp_path / "killed", 7, stop_before=7)  # in the generator's second turn
    result, seen = masked.train(resumed, tmp_path / "killed", 7)
    assert result.resumed_from == 6 and len(seen) == 13 - 6
    expected, found = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_it_needs_a_generator():
    student, _ = masked.models("classification")
    with pytest.raises(UserError, match="adv needs the masked-LM generator"):
        build("classification", student, None)
