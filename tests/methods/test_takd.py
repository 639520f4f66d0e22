"""takd: task loss and the soft targets of an assistant, in value and gradient, from its cached logits."""

import pytest
import torch
import yaml

from distill import parameters
from distill.config.values import flatten, pick
from distill.errors import UserError
from distill.methods import registry, takd
from distill.methods.base import Distillation, Setup
from distill.signals.teacher import CachedTeacher
from distill.tasks.registry import load_task
from tests.helpers import cached as caches
from tests.helpers import micro, reference, text, tiny

TAKD = registry.load("takd")
VALUES = {"task_weight": 0.5, "kl_alpha": 10, "temperature": 2}
QA = load_task("qa")
CLASSES = load_task("classification", labels=text.CLASSES)
NUMBER = load_task("regression")


def cached(folder, logits, lengths):
    """The assistant's logits, as its stage leaves them: rows without padding."""
    return CachedTeacher(caches.write(folder, lengths, {"logits": logits.float().numpy()}))


def build(student, signals, task, **changes):
    values = TAKD.Config(**VALUES | changes)
    return Distillation(student, TAKD(values, Setup(task, student.config, student.config)), signals).train()


@pytest.fixture
def qa(tmp_path):
    """Student, its float64 copy, the assistant's float64 logits, a padded batch, and the cache of those logits."""
    student, assistant, student64, assistant64 = reference.pair()
    batch = tiny.batch()
    target = reference.outputs(assistant64, batch)[0].detach()
    return student, student64, target, batch, cached(tmp_path / "logits", target, reference.lengths(batch))


@pytest.mark.parametrize("temperature", [1, 2, 5.5])
def test_value_and_gradient_are_the_formula(qa, temperature):
    student, student64, target, batch, signals = qa
    terms = build(student, signals, QA, temperature=temperature)(**batch)
    terms["loss"].backward()
    logits = reference.outputs(student64, batch)[0]
    task, kl = reference.task(logits, batch), reference.soft(logits, target, batch, temperature)
    (0.5 * task + 10 * kl).backward()
    assert list(terms) == ["loss", "task", "kl"]
    for name, expected in {"task": task, "kl": kl, "loss": 0.5 * task + 10 * kl}.items():
        reference.same_value(terms[name], expected, temperature)
    reference.same_gradients(student, student64, temperature)


def test_more_padding_changes_no_term(qa):
    student, _, _, batch, signals = qa
    objective = build(student, signals, QA)
    narrow, wide = objective(**batch), objective(**tiny.wider(batch, 9))
    for name in narrow:
        torch.testing.assert_close(wide[name], narrow[name], rtol=1e-5, atol=1e-6)


def test_classification_is_cross_entropy_and_kl_over_the_classes(tmp_path):
    student = text.model("bert", seed=1)
    student64, batch = tiny.double(student), text.batch()
    target = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    signals = cached(tmp_path, target, reference.lengths(batch))
    terms = build(student, signals, CLASSES, temperature=3)(**batch)
    terms["loss"].backward()
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    logits, task, kl = student64(**inputs).logits, 0.0, 0.0
    for row, label in enumerate(batch["labels"].tolist()):
        task = task - reference.log_p(logits[row])[label] / 3
        s, t = reference.log_p(logits[row] / 3), reference.log_p(target[row] / 3)
        kl = kl + 9 * (t.exp() * (t - s)).sum() / 3
    (0.5 * task + 10 * kl).backward()
    for name, expected in {"task": task, "kl": kl, "loss": 0.5 * task + 10 * kl}.items():
        reference.same_value(terms[name], expected)
    reference.same_gradients(student, student64)


def test_regression_is_squared_error_to_the_number_and_to_the_assistant(tmp_path):
    student = text.model("bert", seed=1, channels=1)
    student64, batch = tiny.double(student), text.batch(numeric=True)
    target = torch.tensor([[0.3], [-1.0], [2.5]], dtype=torch.float64)
    terms = build(student, cached(tmp_path, target, reference.lengths(batch)), NUMBER)(**batch)
    terms["loss"].backward()
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    logits, task, kl = student64(**inputs).logits, 0.0, 0.0
    for row in range(3):
        task = task + (logits[row, 0] - batch["labels"][row].double()) ** 2 / 3
        kl = kl + (logits[row, 0] - target[row, 0]) ** 2 / 3
    (0.5 * task + 10 * kl).backward()
    for name, expected in {"task": task, "kl": kl, "loss": 0.5 * task + 10 * kl}.items():
        reference.same_value(terms[name], expected)
    reference.same_gradients(student, student64)


def test_it_is_taught_by_the_assistant_which_another_stage_makes():
    assert (TAKD.taught_by, TAKD.artifacts, TAKD.needs) == ("assistant", ("assistant",), {"logits"})


def link(**changes):
    model = {"path": None, "revision": None, "config": {}} | changes.pop("model", {})
    return {"model": model, "init": "teacher_layers", "layers": "uniform", "num_layers": 1} | changes


def load(chain, **changes):
    raw = yaml.safe_load(micro.params())
    raw["assistant"]["chain"] = chain
    raw["methods"] = ["takd"]
    raw["assistant"] |= changes
    return parameters.parse(raw, "params.yaml")


def test_a_chain_of_any_length_is_accepted():
    shape = yaml.safe_load(micro.params())["student"]["model"]["config"]
    chain = [link(num_layers=2), link(num_layers=1), link(init="random", num_layers=None, model={"config": shape})]
    assert [one.init for one in load(chain).assistant.chain] == ["teacher_layers", "teacher_layers", "random"]


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        ([], "assistant.chain: .*at least 1 item"),
        ([link(num_layers=3)], "assistant.chain.0 takes 3 layers of the teacher, which has 2: lower"),
        (
            [link(layers=[1, 2], num_layers=None), link(layers=[1, 2, 2], num_layers=None)],
            "chain.1 takes 3 layers of a",
        ),
        ([link(), link(num_layers=2)], "assistant.chain.1 takes 2 layers of assistant.chain.0, which has 1"),
        (
            [link(model={"path": "models/x"}, init="pretrained")],
            "assistant.chain.0.model.path is 'models/x', which has its own",
        ),
        ([link(model={"path": "models/x"})], "chain.0.*'teacher_layers' copies the model before it in the chain"),
        ([link(init="pretrained")], "assistant.chain.0: init is 'pretrained' but model.path is null"),
        ([link(init="random")], "assistant.chain.0: .*no model_type: name a checkpoint or a shape"),
        ([link(num_layers=None)], "assistant.chain.0: num_layers is null"),
        ([link() | {"seed": 1}], "assistant.chain.0.seed: unknown parameter"),
    ],
)
def test_a_chain_that_cannot_work_is_refused_before_anything_runs(chain, message):
    with pytest.raises(UserError, match=message):
        load(chain)


@pytest.mark.parametrize("field", ["task_weight", "kl_alpha"])
def test_the_assistants_weights_may_follow_a_schedule_as_the_students_do(field):
    descent = {"value": 3, "schedule": "cosine_descent", "warmup": 0.1}
    params = load([link()], **{field: descent})
    assert getattr(takd.assistants_config(params), field) == getattr(TAKD.Config(**VALUES | {field: descent}), field)
    assert flatten(pick(params, ["assistant"]))[f"assistant.{field}.schedule"] == "cosine_descent"
    assert pick(load([link()], **{field: 3}), ["assistant"])["assistant"][field] == 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"value": 3, "schedule": "cosin", "warmup": 0.1}, r"assistant.kl_alpha.schedule: 'cosin'"),
        ({"value": 3, "schedule": "linear"}, r"assistant.kl_alpha.warmup: missing"),
        ({"value": 3, "schedule": "linear", "warmup": 1}, r"assistant.kl_alpha.warmup: 1: "),
        ({"value": 3, "schedule": "linear", "warm_up": 0}, r"assistant.kl_alpha.warm_up: unknown parameter"),
        ("much", r"assistant.kl_alpha: 'much': "),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_before_anything_runs(value, message):
    with pytest.raises(UserError, match=message) as caught:
        load([link()], kl_alpha=value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", 0), ("kl_alpha", -1), ("task_weight", True), ("seed", "x")]
)
def test_values_out_of_range_are_refused(field, value):
    with pytest.raises(UserError, match=f"assistant.{field}"):
        load([link()], **{field: value})
