"""cilda: both kinds of steps in value and gradient, and what each moves. Texts and cycles: test_mate."""

import pytest
import torch

from distill.errors import UserError
from distill.methods import registry
from distill.methods.base import Distillation, Setup
from distill.signals.teacher import OnlineTeacher
from tests.helpers import masked, reference, tiny
from tests.methods.test_mate import TASKS, at, divergence, entropy, task_loss

CILDA = registry.load("cilda")
VALUES = {
    "task_weight": 0.5,
    "kl_alpha": 2,
    "adversarial_alpha": 3,
    "contrastive_alpha": 0.7,
    "contrastive_temperature": 0.2,
    "projection_dim": 6,
    "layer_map": [1, 3],
    "mask_probability": 0.3,
    "gumbel_temperature": 0.7,
    "generator_steps": 2,
    "student_steps": 3,
    "generator_learning_rate": 1e-3,
}


def build(name, student, teacher, proposer, **changes):
    setup = Setup(masked.task(name), student.config, teacher.config, 0, tiny.tokenizer(), generator=proposer)
    torch.manual_seed(0)
    method = CILDA(CILDA.Config(**VALUES | changes), setup)
    return Distillation(student, method, OnlineTeacher(teacher, setup.task, hidden=True, precision="fp32")).train()


def by_hand(model, name, made, embeddings=None):
    """(logits, hidden states) of a float64 model called by itself."""
    kept = []
    hooks = [
        layer.register_forward_hook(lambda *call: kept.append(call[2][0] if isinstance(call[2], tuple) else call[2]))
        for layer in model.base_model.encoder.layer
    ]
    logits = masked.by_hand(model, name, made, embeddings)
    for hook in hooks:
        hook.remove()
    return logits, kept


def distance(projections, student, teacher, batch):
    """C, row by row over the real tokens."""
    lengths = batch["attention_mask"].sum(1).tolist()
    vectors = [
        torch.stack([linear(torch.cat([layer[row, :n].mean(0) for layer in layers])) for row, n in enumerate(lengths)])
        for linear, layers in zip(projections, (student, [teacher[0], teacher[2]]), strict=True)
    ]
    units = [side / side.norm(dim=1, keepdim=True) for side in vectors]
    scores = [[own @ other / 0.2 for other in units[1]] for own in units[0]]
    rows = [torch.stack(row).exp().sum().log() - row[number] for number, row in enumerate(scores)]
    return sum(rows) / len(rows)


@pytest.mark.parametrize("name", TASKS)
def test_a_students_step_is_the_formula_in_value_and_gradient(name):
    student, teacher = masked.models(name)
    student64, teacher64 = tiny.double(student), tiny.double(teacher).eval()
    objective, batch = build(name, student, teacher, masked.generator()), masked.batch(name)
    projections64 = tiny.double(objective.method.projections)
    changed, *_ = masked.draw(objective.method.adversary, batch, seed=5)
    torch.manual_seed(5)
    terms = at(objective, 2)(**batch)
    terms["loss"].backward()
    own, own_changed = (by_hand(student64, name, made) for made in (batch, changed))
    with torch.no_grad():
        other, other_changed = (by_hand(teacher64, name, made) for made in (batch, changed))
    expected = {
        "task": task_loss(name, own[0], batch),
        "kl": divergence(name, own[0], other[0], batch) - entropy(name, other[0], batch),
        "contrastive": distance(projections64, own[1], other[1], batch),
        "adversarial": divergence(name, own_changed[0], other_changed[0], batch)
        - entropy(name, other_changed[0], batch),
        "adversarial_contrastive": distance(projections64, own_changed[1], other_changed[1], batch),
    }
    total = sum(weight * term for weight, term in zip((0.5, 2, 0.7, 3, 0.7), expected.values(), strict=True))
    total.backward()
    assert list(terms) == ["loss", *expected]
    for key, value in (expected | {"loss": total}).items():
        reference.same_value(terms[key], value)
    reference.same_gradients(student, student64)
    reference.same_gradients(objective.method.projections, projections64)
    assert all(p.grad is None for p in objective.method.adversary.generator.parameters())
    reference.teacher_is_left_alone(objective, teacher, student)


@pytest.mark.parametrize("name", TASKS)
def test_a_generators_step_is_the_formula_in_value_and_gradient(name):
    student, teacher = masked.models(name)
    proposer = masked.generator()
    student64, teacher64, proposer64 = tiny.double(student), tiny.double(teacher).eval(), tiny.double(proposer)
    objective, batch = build(name, student, teacher, proposer), masked.batch(name)
    projections64 = tiny.double(objective.method.projections)
    _, places, noise = masked.draw(objective.method.adversary, batch, seed=5)
    torch.manual_seed(5)
    terms = at(objective, 6)(**batch)
    terms["loss"].backward()
    own, other = (
        by_hand(model, name, batch, masked.attacked(proposer64, model, batch, places, noise, 0.7))
        for model in (student64.eval(), teacher64)
    )
    apart, contrasted = divergence(name, own[0], other[0], batch), distance(projections64, own[1], other[1], batch)
    (-apart - contrasted).backward()
    assert list(terms) == ["loss", "generator", "generator_contrastive"]
    reference.same_value(terms["generator"], apart)
    reference.same_value(terms["generator_contrastive"], contrasted)
    reference.same_value(terms["loss"], -apart - contrasted)
    reference.same_gradients(proposer, proposer64)
    for module in (student, objective.method.projections):
        assert all(p.grad is None and p.requires_grad for p in module.parameters())
    reference.teacher_is_left_alone(objective, teacher, student)


@pytest.mark.parametrize("step", [0, 2])
@pytest.mark.parametrize("name", ["qa", "classification"])
def test_more_padding_changes_no_term(name, step):
    student, teacher = masked.models(name)
    objective, found = build(name, student, teacher, masked.generator()), []
    for batch in (masked.batch(name), tiny.wider(masked.batch(name), 9)):
        if name == "qa":
            batch["offset_start"][:, 24:] = -1
        torch.manual_seed(5)
        found.append(at(objective, step)(**batch))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


def fresh():
    return build("classification", *masked.models("classification"), masked.generator())


def test_each_kind_of_step_moves_its_own_parameters_and_no_others(tmp_path):
    objective = fresh()
    _, seen = masked.train(objective, tmp_path, 6, lr_scheduler="constant")
    seen.append(dict(objective.named_parameters()))
    for step, (before, after) in enumerate(zip(seen[:-1], seen[1:], strict=True)):
        moved = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
        students = {"bert", "classifier", "projections"}
        assert moved == ({"adversary"} if step % 5 < 2 else students), step


def test_a_killed_run_goes_on_as_it_was(tmp_path):
    whole, killed, resumed = fresh(), fresh(), fresh()
    masked.train(whole, tmp_path / "whole", 7)
    with pytest.raises(KeyboardInterrupt):
        masked.train(killed, tmp_path / "killed", 7, stop_before=7)  # in the generator's second turn
    result, _ = masked.train(resumed, tmp_path / "killed", 7)
    assert result.resumed_from == 6
    expected, found = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_bf16_gives_finite_gradients():
    objective, batch = fresh(), masked.batch("classification")
    for step in (0, 2):
        objective.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            at(objective, step)(**batch)["loss"].backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in objective.parameters())


def test_a_layer_that_the_teacher_has_not_is_refused():
    with pytest.raises(UserError, match="cilda.layer_map: layer 4 is not among the teacher's 1…3"):
        build("qa", *masked.models("qa"), masked.generator(), layer_map=[1, 4])
