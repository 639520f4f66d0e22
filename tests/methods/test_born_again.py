"""born_again: task loss and the soft targets of the generation before, each generation from a fresh start."""

from types import SimpleNamespace

import pytest
import torch

from distill.errors import UserError
from distill.methods import registry
from distill.methods.base import Distillation, Setup
from distill.signals.teacher import OnlineTeacher
from distill.tasks.registry import load_task
from tests.helpers import reference, text, tiny

BORN = registry.load("born_again")
QA = load_task("qa")


def build(student, before, task=QA, **changes):
    values = BORN.Config(**{"generations": 2, "task_weight": 0.5, "kl_alpha": 4, "temperature": 2} | changes)
    signals = OnlineTeacher(before, task, hidden=False, precision="fp32")
    return Distillation(student, BORN(values, Setup(task, student.config, before.config)), signals).train()


def family(kind="bert"):
    """A student and the generation before it, each with a copy in float64."""
    student, before = tiny.model(kind, seed=1), tiny.model(kind, seed=2)
    return student, before, tiny.double(student), tiny.double(before).eval()


@pytest.mark.parametrize("kind", ["bert", "distilbert", "deberta-v2"])
@pytest.mark.parametrize("temperature", [1, 3])
def test_value_and_gradient_are_the_formula(kind, temperature):
    student, before, student64, before64 = family(kind)
    batch = tiny.batch()
    terms = build(student, before, temperature=temperature)(**batch)
    terms["loss"].backward()
    logits, target = reference.outputs(student64, batch)[0], reference.outputs(before64, batch)[0].detach()
    task, kl = reference.task(logits, batch), reference.soft(logits, target, batch, temperature)
    (0.5 * task + 4 * kl).backward()
    assert list(terms) == ["loss", "task", "kl"]
    for name, expected in {"task": task, "kl": kl, "loss": 0.5 * task + 4 * kl}.items():
        reference.same_value(terms[name], expected, temperature)
    reference.same_gradients(student, student64, temperature)


def test_regression_learns_the_number_of_the_generation_before():
    task = load_task("regression")
    student, before = text.model(seed=1, channels=1), text.model(seed=2, channels=1)
    batch = text.batch(numeric=True)
    terms = build(student, before, task)(**batch)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    own, other = tiny.double(student)(**inputs).logits, tiny.double(before).eval()(**inputs).logits
    reference.same_value(terms["kl"], sum((own[row, 0] - other[row, 0]) ** 2 for row in range(3)) / 3)
    reference.same_value(terms["task"], sum((own[row, 0] - batch["labels"][row].double()) ** 2 for row in range(3)) / 3)


def test_more_padding_changes_no_term():
    student, before, *_ = family()
    objective, batch = build(student, before), tiny.batch()
    narrow, wide = objective(**batch), objective(**tiny.wider(batch, 9))
    for name in narrow:
        torch.testing.assert_close(wide[name], narrow[name], rtol=1e-5, atol=1e-6)


def test_the_generation_before_is_left_alone_even_where_it_has_dropout():
    student = tiny.model("bert", seed=1)
    before = tiny.model("bert", seed=2, hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5).train()
    objective = build(student, before)
    first, again = objective(**tiny.batch()), objective(**tiny.batch())
    assert torch.equal(first["kl"], again["kl"])
    first["loss"].backward()
    reference.teacher_is_left_alone(objective, before, student)


@pytest.mark.parametrize(
    ("student", "before", "name"),
    [
        ({"layers": 2}, {"layers": 3}, "num_hidden_layers is 2 and was 3"),
        ({"width": 8}, {"width": 12}, "hidden_size is 8 and was 12"),
        ({"kind": "electra"}, {"kind": "bert"}, "model_type is electra and was bert"),
    ],
)
def test_another_architecture_is_refused(student, before, name):
    objective = build(tiny.model(seed=1, **student), tiny.model(seed=2, **before))
    with pytest.raises(UserError, match=name):
        objective(**tiny.batch())


def test_every_generation_and_seed_has_a_seed_of_its_own():
    config = BORN.Config(generations=4, task_weight=1, kl_alpha=1, temperature=1)
    seeds = [BORN.generation_seed(seed, generation) for seed in range(20) for generation in range(1, 5)]
    assert len(set(seeds)) == len(seeds) and not set(seeds) & set(range(20))
    assert BORN.training_seed(config, 7) == BORN.generation_seed(7, 4)


def test_it_starts_as_fine_tuning_did_and_not_from_the_model_that_teaches_it():
    params = SimpleNamespace(student=SimpleNamespace(init="random"), distill=SimpleNamespace(init="finetuned"))
    assert BORN.start(params) == "random"
    assert (BORN.taught_by, BORN.needs) == ("generation", {"logits", "model"})


@pytest.mark.parametrize("generations", [0, 1.5, True])
def test_a_number_of_generations_that_cannot_be_is_refused(generations):
    with pytest.raises(ValueError, match="generations"):
        BORN.Config(generations=generations, task_weight=1, kl_alpha=1, temperature=1)
