"""mate: both kinds of steps in value and gradient, whose step it is, and what may never be changed."""

import pyarrow as pa
import pytest
import torch

from distill.data.features import question_features
from distill.data.loading.batches import Collator
from distill.errors import UserError
from distill.methods import registry
from distill.methods.base import Setup
from distill.methods.shared import adversary
from distill.training.objective import Progress
from tests.helpers import masked, reference, tiny

MATE = registry.load("mate")
VALUES = {
    "task_weight": 0.5,
    "kl_alpha": 2,
    "adversarial_alpha": 3,
    "mask_probability": 0.3,
    "gumbel_temperature": 0.7,
    "generator_steps": 2,
    "student_steps": 3,
    "generator_learning_rate": 1e-3,
}
TASKS = ("qa", "classification", "regression")


def build(name, student, teacher, proposer, **changes):
    return masked.build(MATE, name, student, teacher, proposer, **VALUES | changes)


def at(objective, step):
    objective.set_progress(Progress(step, 100, 0))
    return objective


def distributions(name, logits, batch):
    """The rows of logits that are softmaxed: over real tokens, start and end, or over classes."""
    if name != "qa":
        return list(logits)
    return [
        logits[row, :length, side]
        for side in (0, 1)
        for row, length in enumerate(batch["attention_mask"].sum(1).tolist())
    ]


def divergence(name, student, teacher, batch):
    """D: soft cross-entropy, or the squared error on regression, mean over rows."""
    if name == "regression":
        return sum((s - t) ** 2 for s, t in zip(student[:, 0], teacher[:, 0], strict=True)) / len(student)
    pairs = list(zip(distributions(name, student, batch), distributions(name, teacher, batch), strict=True))
    return sum(-(reference.log_p(t).exp() * reference.log_p(s)).sum() for s, t in pairs) / len(pairs)


def entropy(name, teacher, batch):
    return 0.0 if name == "regression" else divergence(name, teacher, teacher, batch)


def task_loss(name, logits, batch):
    if name == "qa":
        return reference.task(logits, batch)
    if name == "regression":
        return sum((z - y.double()) ** 2 for z, y in zip(logits[:, 0], batch["labels"], strict=True)) / len(logits)
    return sum(-reference.log_p(z)[y] for z, y in zip(logits, batch["labels"], strict=True)) / len(logits)


@pytest.mark.parametrize("name", TASKS)
def test_a_students_step_is_the_formula_in_value_and_gradient(name):
    student, teacher = masked.models(name)
    student64, teacher64 = tiny.double(student), tiny.double(teacher).eval()
    objective, batch = build(name, student, teacher, masked.generator()), masked.batch(name)
    changed, places, _ = masked.draw(objective.method.adversary, batch, seed=5)
    assert (changed["input_ids"] != batch["input_ids"]).sum() >= 3
    torch.manual_seed(5)
    terms = at(objective, 2)(**batch)
    terms["loss"].backward()
    logits, other = (masked.by_hand(student64, name, made) for made in (batch, changed))
    with torch.no_grad():
        target, other_target = (masked.by_hand(teacher64, name, made) for made in (batch, changed))
    task = task_loss(name, logits, batch)
    kl = divergence(name, logits, target, batch) - entropy(name, target, batch)
    adversarial = divergence(name, other, other_target, batch) - entropy(name, other_target, batch)
    total = 0.5 * task + 2 * kl + 3 * adversarial
    total.backward()
    for key, expected in {"task": task, "kl": kl, "adversarial": adversarial, "loss": total}.items():
        reference.same_value(terms[key], expected)
    assert set(terms) == {"task", "kl", "adversarial", "loss"}
    reference.same_gradients(student, student64)
    assert all(p.grad is None for p in objective.method.adversary.generator.parameters())
    reference.teacher_is_left_alone(objective, teacher, student)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("pair", [("bert", "deberta-v2"), ("distilbert", "electra")])
def test_a_generators_step_is_the_formula_in_value_and_gradient(name, pair):
    student, teacher = masked.models(name, *pair)
    proposer = masked.generator()
    student64, teacher64, proposer64 = tiny.double(student), tiny.double(teacher).eval(), tiny.double(proposer)
    objective, batch = build(name, student, teacher, proposer), masked.batch(name)
    _, places, noise = masked.draw(objective.method.adversary, batch, seed=5)
    torch.manual_seed(5)
    terms = at(objective, 6)(**batch)
    terms["loss"].backward()
    student64.eval()
    own, target = (
        masked.by_hand(model, name, batch, masked.attacked(proposer64, model, batch, places, noise, 0.7))
        for model in (student64, teacher64)
    )
    expected = divergence(name, own, target, batch)
    (-expected).backward()
    assert set(terms) == {"generator", "loss"}
    reference.same_value(terms["generator"], expected)
    reference.same_value(terms["loss"], -expected)
    reference.same_gradients(proposer, proposer64)
    assert max(p.grad.abs().max() for p in proposer.parameters() if p.grad is not None) > 1e-4
    assert all(p.grad is None and p.requires_grad for p in student.parameters())
    reference.teacher_is_left_alone(objective, teacher, student)


def test_the_generators_gradient_passes_through_both_models():
    student, teacher = masked.models("classification")
    gradients = []
    for cut in (None, "student", "teacher"):
        proposer = masked.generator()
        objective = build("classification", student, teacher, proposer)
        batch = masked.batch("classification")
        torch.manual_seed(5)
        own, target = objective.method.adversary.attack(batch, student, objective._teacher[0])
        own, target = own.detach() if cut == "student" else own, target.detach() if cut == "teacher" else target
        adversary.divergence(objective.method.task, own, target, batch).backward()
        gradients.append(proposer.get_input_embeddings().weight.grad.clone())
    torch.testing.assert_close(gradients[0], gradients[1] + gradients[2], rtol=1e-4, atol=1e-6)
    assert all(gradient.abs().max() > 1e-5 for gradient in gradients)


@pytest.mark.parametrize("kind", masked.ARCHITECTURES)
def test_changed_words_mean_the_same_as_ids_and_as_embeddings_in_every_architecture(kind):
    student, teacher = masked.models("qa", kind, "bert")
    objective, batch = build("qa", student, teacher, masked.generator(kind)), masked.batch()
    changed, places, _ = masked.draw(objective.method.adversary, batch, seed=5)
    torch.manual_seed(5)
    own, target = objective.method.adversary.attack(batch, student.eval(), objective._teacher[0])
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        for model, found in ((student, own), (teacher, target)):
            expected = masked.by_hand(model, "qa", changed)
            torch.testing.assert_close(found[real], expected[real], rtol=1e-4, atol=1e-5)
            assert (found - masked.by_hand(model, "qa", batch))[real].abs().max() > 1e-3


def test_qa_never_changes_the_question_or_a_gold_answer_token():
    student, teacher = masked.models("qa")
    objective, batch = build("qa", student, teacher, masked.generator(), mask_probability=1), masked.batch()
    allowed = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
    for row, places in enumerate(([5, 6, 7, 11, 12, 13, 14, 15, 16, 17], [5, 7], [5, 7, 8, 9, 10, 11, 12])):
        allowed[row, places] = True
    seen = torch.zeros_like(allowed)
    for seed in range(20):
        torch.manual_seed(seed)
        changed = objective.method.adversary.changed(batch)["input_ids"]
        assert torch.equal(changed[~allowed], batch["input_ids"][~allowed])
        seen |= changed != batch["input_ids"]
    assert torch.equal(seen, allowed)


def test_qa_changes_no_gold_token_in_a_window_that_cuts_through_the_answer():
    """Such a window is labelled as one without an answer."""
    context = " ".join(f"w{i}" for i in range(1, 11))
    answers = {"text": ["w4 w5 w6 w7", "w9"], "answer_start": [context.index("w4"), context.index("w9")]}
    rows = [{"id": "a", "title": "t", "context": context, "question": "w11 w12", "answers": answers}]
    made = pa.Table.from_batches(question_features.encode(rows, tiny.tokenizer(), 10, 0)).to_pylist()
    words = [tiny.tokenizer().convert_ids_to_tokens(row["input_ids"])[4:-1] for row in made]
    assert words == [["w1", "w2", "w3", "w4", "w5"], ["w6", "w7", "w8", "w9", "w10"]]
    assert all(row["start_positions"] == row["end_positions"] == 0 for row in made)
    task, student, teacher = masked.task("qa"), *masked.models("qa")
    objective = build("qa", student, teacher, masked.generator(), mask_probability=1)
    batch = Collator(0, task.labels, task.extra_columns)(made)
    allowed = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
    allowed[0, [4, 5, 6]] = allowed[1, [6, 8]] = True
    seen = torch.zeros_like(allowed)
    for seed in range(20):
        torch.manual_seed(seed)
        seen |= objective.method.adversary.changed(batch)["input_ids"] != batch["input_ids"]
    assert torch.equal(seen, allowed)


@pytest.mark.parametrize("name", ["classification", "regression"])
def test_special_tokens_and_padding_are_never_changed_nor_proposed(name):
    student, teacher = masked.models(name)
    objective, batch = build(name, student, teacher, masked.generator(), mask_probability=1), masked.batch(name)
    free = batch["attention_mask"].bool() & (batch["input_ids"] >= len(masked.SPECIAL))
    seen = torch.zeros_like(free)
    for seed in range(20):
        torch.manual_seed(seed)
        changed = objective.method.adversary.changed(batch)["input_ids"]
        assert torch.equal(changed[~free], batch["input_ids"][~free])
        assert (changed[free] >= len(masked.SPECIAL)).all()
        seen |= changed != batch["input_ids"]
    assert torch.equal(seen, free)


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


@pytest.mark.parametrize("step", [0, 2])
def test_rows_without_a_word_that_may_be_changed_stay_as_they_are(step):
    student, teacher = masked.models("qa")
    objective, batch = build("qa", student, teacher, masked.generator()), masked.batch()
    batch["offset_start"].fill_(-1)
    terms = at(objective, step)(**batch)
    terms["loss"].backward()
    assert terms["loss"].isfinite()
    if step:
        torch.testing.assert_close(terms["adversarial"], terms["kl"])
    else:
        assert all(p.grad is None or not p.grad.any() for p in objective.method.adversary.generator.parameters())


def test_a_cycle_is_the_generators_steps_then_the_students_and_the_student_gets_its_updates():
    student, teacher = masked.models("classification")
    for generator_steps, student_steps, updates in ((2, 3, 7), (2, 3, 6), (10, 100, 30), (0, 5, 9), (1, 1, 4)):
        method = build(
            "classification", student, teacher, masked.generator(),
            generator_steps=generator_steps, student_steps=student_steps,
        ).method  # fmt: skip
        steps = method.trainer_steps(updates)
        kinds = "".join("g" if method.cycle.is_generators(step) else "s" for step in range(steps))
        cycle = "g" * generator_steps + "s" * student_steps
        assert kinds.count("s") == updates and (cycle * 9).startswith(kinds) and kinds.endswith("s")
    assert method.learning_rates() == {"adversary.generator": 1e-3}


def test_it_needs_a_generator_with_all_words_and_a_mask_token():
    student, teacher = masked.models("classification")
    task = masked.task("classification")
    without = Setup(task, student.config, teacher.config, 0, tiny.tokenizer())
    with pytest.raises(UserError, match="mate needs the masked-LM generator"):
        MATE(MATE.Config(**VALUES), without)
    small = Setup(task, student.config, teacher.config, 0, tiny.tokenizer(), generator=masked.generator(vocab_size=30))
    with pytest.raises(UserError, match="30 words, the tokenizer 40"):
        MATE(MATE.Config(**VALUES), small)
    maskless = tiny.tokenizer()
    maskless.mask_token = None
    with pytest.raises(UserError, match=r"features\.tokenizer\.path.*no mask token"):
        MATE(
            MATE.Config(**VALUES),
            Setup(task, student.config, teacher.config, 0, maskless, generator=masked.generator()),
        )


def test_models_with_spare_rows_of_embeddings_and_other_widths_work():
    student, teacher = tiny.model("electra", 1, 8, 1, vocab_size=44), tiny.model("bert", 2, 12, 2, vocab_size=52)
    objective, batch = build("qa", student, teacher, masked.generator("electra", vocab_size=48)), masked.batch()
    for step in (0, 2):
        at(objective, step)(**batch)["loss"].backward()
    assert all(p.grad is not None for p in objective.method.adversary.generator.electra.parameters())
    torch.manual_seed(1)
    assert objective.method.adversary.changed(batch)["input_ids"].max() < tiny.VOCAB


def fresh(**changes):
    student, teacher = masked.models("classification")
    return build("classification", student, teacher, masked.generator(), **changes)


def test_each_kind_of_step_moves_its_own_parameters_and_no_others(tmp_path):
    objective = fresh()
    result, seen = masked.train(objective, tmp_path, 6, lr_scheduler="constant")
    assert result.steps == len(seen) == 6 + 2 * 2
    seen.append(dict(objective.named_parameters()))
    for step, (before, after) in enumerate(zip(seen[:-1], seen[1:], strict=True)):
        moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
        assert moved == {"method" if step % 5 < 2 else "student"}, step
    rate = {e["step"]: e["learning_rate"] for e in result.history if "learning_rate" in e}
    assert set(rate.values()) == {1e-2}
    # Adam's first step is about the learning rate: the generator's is a tenth of the student's.
    name = "method.adversary.generator.bert.embeddings.word_embeddings.weight"
    assert 0.5e-3 < (seen[1][name] - seen[0][name]).abs().max() < 1.5e-3


def test_a_killed_run_goes_on_with_generator_and_cycle_as_they_were(tmp_path):
    whole, killed, resumed = fresh(), fresh(), fresh()
    masked.train(whole, tmp_path / "whole", 7)
    with pytest.raises(KeyboardInterrupt):
        masked.train(killed, tmp_path / "killed", 7, stop_before=7)  # in the generator's second turn
    result, seen = masked.train(resumed, tmp_path / "killed", 7)
    assert result.resumed_from == 6 and len(seen) == 13 - 6
    expected, found = whole.state_dict(), resumed.state_dict()
    assert set(expected) == set(found)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    generator = resumed.method.adversary.generator
    assert generator.get_output_embeddings().weight is generator.get_input_embeddings().weight


def test_bf16_gives_the_generator_finite_gradients():
    objective, batch = fresh(), masked.batch("classification")
    for step in (0, 2):
        objective.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            at(objective, step)(**batch)["loss"].backward()
        own = objective.method.adversary.generator if step == 0 else objective.student
        assert all(p.grad is None or p.grad.isfinite().all() for p in own.parameters())
        assert any(p.grad is not None and p.grad.any() for p in own.parameters())
