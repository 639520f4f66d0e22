"""combined: phase 1 in value and gradient for both kinds of steps, phase 2, and how one follows the other."""

import json

import pytest
import torch

from distill.errors import UserError
from distill.methods import registry
from distill.methods.base import Setup
from distill.training.objective import Progress
from distill.training.phases import divide
from tests.helpers import masked, reference, tiny

COMBINED = registry.load("combined")
VALUES = {
    "mse_weight": 0.5,
    "adversarial_weight": 0.25,
    "task_weight": 2,
    "tau_max": 4,
    "phase1_share": 0.75,
    "evaluations": 2,
    "mask_probability": 0.3,
    "gumbel_temperature": 1,
    "generator_steps": 2,
    "student_steps": 3,
    "generator_learning_rate": 1e-3,
}
TASKS = ("qa", "classification", "regression")


def build(name, student, teacher, proposer, **changes):
    return masked.build(COMBINED, name, student, teacher, proposer, **VALUES | changes)


def at(objective, step, steps, phase=0):
    objective.phases(tiny.training())
    objective.begin(phase)
    objective.set_progress(Progress(step, steps, 0))
    return objective


def mse(name, student, teacher, batch):
    """Mean of squares over the logits that exist."""
    if name != "qa":
        return sum(((s - t) ** 2).sum() for s, t in zip(student, teacher, strict=True)) / student.numel()
    lengths = batch["attention_mask"].sum(1).tolist()
    total = sum(((student[row, :n] - teacher[row, :n]) ** 2).sum() for row, n in enumerate(lengths))
    return total / (2 * sum(lengths))


def task_loss(name, logits, batch):
    if name == "qa":
        return reference.task(logits, batch)
    if name == "regression":
        return sum((z - y.double()) ** 2 for z, y in zip(logits[:, 0], batch["labels"], strict=True)) / len(logits)
    return sum(-reference.log_p(z)[y] for z, y in zip(logits, batch["labels"], strict=True)) / len(logits)


# Of 13 steps and 4 levels: steps 0–2 (share below 1/4) have Φ = 1/4, 3–5 have 2/4, 6–8 have 3/4, 9–12 have 1.
@pytest.mark.parametrize(("step", "factor"), [(2, 0.25), (7, 0.75), (12, 1.0)])
@pytest.mark.parametrize("name", TASKS)
def test_a_students_step_of_phase_1_is_the_formula_in_value_and_gradient(name, step, factor):
    student, teacher = masked.models(name)
    student64, teacher64 = tiny.double(student), tiny.double(teacher).eval()
    objective, batch = build(name, student, teacher, masked.generator()), masked.batch(name)
    changed, *_ = masked.draw(objective.method.adversary, batch, seed=5)
    torch.manual_seed(5)
    terms = at(objective, step, 13)(**batch)
    terms["loss"].backward()
    parts = []
    for made in (batch, changed):
        with torch.no_grad():
            target = factor * masked.by_hand(teacher64, name, made)
        parts.append(mse(name, masked.by_hand(student64, name, made), target, batch))
    total = 0.5 * parts[0] + 0.25 * parts[1]
    total.backward()
    for key, expected in {"mse": parts[0], "adversarial": parts[1], "loss": total}.items():
        reference.same_value(terms[key], expected)
    assert set(terms) == {"mse", "adversarial", "loss"}
    reference.same_gradients(student, student64)
    assert all(p.grad is None for p in objective.method.adversary.generator.parameters())
    reference.teacher_is_left_alone(objective, teacher, student)


@pytest.mark.parametrize("name", TASKS)
def test_a_generators_step_of_phase_1_is_the_formula_in_value_and_gradient(name):
    student, teacher = masked.models(name)
    proposer = masked.generator()
    student64, teacher64, proposer64 = tiny.double(student), tiny.double(teacher).eval(), tiny.double(proposer)
    objective, batch = build(name, student, teacher, proposer), masked.batch(name)
    _, places, noise = masked.draw(objective.method.adversary, batch, seed=5)
    torch.manual_seed(5)
    terms = at(objective, 6, 13)(**batch)
    terms["loss"].backward()
    student64.eval()
    own, target = (
        masked.by_hand(model, name, batch, masked.attacked(proposer64, model, batch, places, noise, 1.0))
        for model in (student64, teacher64)
    )
    expected = mse(name, own, 0.75 * target, batch)
    (-expected).backward()
    assert set(terms) == {"generator", "loss"}
    reference.same_value(terms["generator"], expected)
    reference.same_value(terms["loss"], -expected)
    reference.same_gradients(proposer, proposer64)
    assert all(p.grad is None and p.requires_grad for p in student.parameters())
    reference.teacher_is_left_alone(objective, teacher, student)


@pytest.mark.parametrize("name", TASKS)
def test_phase_2_is_the_task_loss_alone_without_a_generators_step(name):
    student, teacher = masked.models(name)
    student64 = tiny.double(student)
    objective, batch = build(name, student, teacher, masked.generator()), masked.batch(name)
    teacher.register_forward_pre_hook(lambda *_: pytest.fail("phase 2 runs the teacher"))
    terms = at(objective, 0, 13, phase=1)(**batch)  # the generator's turn, if this were phase 1
    terms["loss"].backward()
    expected = task_loss(name, masked.by_hand(student64, name, batch), batch)
    (2 * expected).backward()
    assert set(terms) == {"task", "loss"}
    reference.same_value(terms["task"], expected)
    reference.same_value(terms["loss"], 2 * expected)
    reference.same_gradients(student, student64)


def test_phases_keep_the_best_of_the_first_and_count_the_generators_steps_there_only():
    student, teacher = masked.models("classification")
    objective = build("classification", student, teacher, masked.generator())
    first, second = objective.phases(tiny.training())
    assert (first.share, second.share) == (0.75, 0.25)
    assert first.changes == {"evaluations": 2, "keep": "best"} and not second.changes
    assert divide(40, [first, second]) == [30, 10]  # the paper's epochs
    objective.begin(0)
    assert objective.trainer_steps(30) == 30 + 2 * 10
    objective.begin(1)
    assert objective.trainer_steps(10) == 10


@pytest.mark.parametrize("step", [0, 2])
def test_more_padding_changes_no_term(step):
    student, teacher = masked.models("qa")
    objective, found = build("qa", student, teacher, masked.generator()), []
    for batch in (masked.batch(), tiny.wider(masked.batch(), 9)):
        batch["offset_start"][:, 24:] = -1
        torch.manual_seed(5)
        found.append(at(objective, step, 13)(**batch))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


def test_qa_never_changes_the_question_or_a_gold_answer_token():
    student, teacher = masked.models("qa")
    objective, batch = build("qa", student, teacher, masked.generator(), mask_probability=1), masked.batch()
    kept = batch["offset_start"] < 0
    kept[0, 8:11] = True
    kept[1, [0, 6]] = True
    kept[2, 6] = True
    inputs = []
    student.register_forward_pre_hook(lambda module, args, named: inputs.append(named["input_ids"]), with_kwargs=True)
    at(objective, 2, 13)(**batch)
    plain, changed = inputs if torch.equal(inputs[0], batch["input_ids"]) else inputs[::-1]
    assert torch.equal(plain, batch["input_ids"])
    assert torch.equal(changed[kept], plain[kept])
    assert (changed != plain)[~kept].float().mean() > 0.5


def fresh():
    student, teacher = masked.models("classification")
    return build("classification", student, teacher, masked.generator())


def test_the_student_gets_its_updates_and_the_generator_rests_in_phase_2(tmp_path):
    objective = fresh()
    result, seen = masked.train(objective, tmp_path, 8)
    assert result.steps == len(seen) == 6 + 2 * 2 + 2
    seen.append(dict(objective.named_parameters()))
    kinds = "ggsssggsss" + "ss"
    for step, (before, after) in enumerate(zip(seen[:-1], seen[1:], strict=True)):
        moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
        assert moved == {{"g": "method", "s": "student"}[kinds[step]]}, step
    terms = [set(entry) - {"step", "loss", "learning_rate", "grad_norm"} for entry in result.history if "loss" in entry]
    assert {"mse", "adversarial"} in terms and terms[-1] == {"task"}


@pytest.mark.parametrize("stop", [7, 10, 11])
def test_a_run_killed_in_either_phase_ends_as_if_it_had_not_been(tmp_path, stop):
    whole, killed, resumed = fresh(), fresh(), fresh()
    masked.train(whole, tmp_path / "whole", 8)
    with pytest.raises(KeyboardInterrupt):
        masked.train(killed, tmp_path / "killed", 8, stop_before=stop)
    masked.train(resumed, tmp_path / "killed", 8)
    expected, found = whole.state_dict(), resumed.state_dict()
    assert set(expected) == set(found)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    generator = resumed.method.adversary.generator
    assert generator.get_output_embeddings().weight is generator.get_input_embeddings().weight
    sealed = json.loads((tmp_path / "killed/phase-1/done/result.json").read_text())
    assert sealed["steps"] == 10


def test_it_needs_a_generator():
    student, teacher = masked.models("classification")
    setup = Setup(masked.task("classification"), student.config, teacher.config, 0, tiny.tokenizer())
    with pytest.raises(UserError, match="combined needs the masked-LM generator"):
        COMBINED(COMBINED.Config(**VALUES), setup)
