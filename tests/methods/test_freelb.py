"""freelb: the ascent and the accumulated gradient against algorithm 1 in float64; embeddings in place of tokens."""

import contextlib

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from distill.errors import UserError
from distill.methods import freelb, registry
from distill.methods.base import Distillation, Setup
from distill.models.forward import Outputs, autocast, forward_pass
from distill.signals.teacher import OnlineTeacher
from distill.tasks.registry import load_task
from distill.training.objective import Progress
from tests.helpers import reference, tiny

TASK = load_task("qa")
KINDS = ["bert", "roberta", "distilbert", "electra", "deberta-v2"]
FREELB = registry.load("freelb")
VALUES = {
    "task_weight": 0.5,
    "kl_alpha": 3,
    "temperature": 2,
    "steps": 3,
    "step_size": 0.4,
    "init_magnitude": 0.5,
    "max_norm": 0.6,
    "same_dropout": True,
}


def build(student, teacher=None, task=TASK, **changes):
    method = FREELB(FREELB.Config(**VALUES | changes), Setup(task, student.config, student.config))
    signals = teacher and OnlineTeacher(teacher, task, hidden=False, precision="fp32")
    return Distillation(student, method, signals).train()


def by_embeddings(model, batch, embeddings):
    """Question-answering logits of a float64 model called by itself."""
    inputs = {"attention_mask": batch["attention_mask"], "inputs_embeds": embeddings}
    if model.config.model_type != "distilbert":
        inputs["token_type_ids"] = batch["token_type_ids"]
    outputs = model(**inputs)
    return torch.stack((outputs.start_logits, outputs.end_logits), -1)


def norm(values, length):
    """Of one row's real tokens."""
    return sum((token**2).sum() for token in values[:length]) ** 0.5


def drawn(batch, width, magnitude):
    """The start: the same random numbers, put in place row by row."""
    lengths = reference.lengths(batch)
    numbers = iter(torch.rand(sum(lengths), width) * 2 - 1)
    delta = torch.zeros(*batch["input_ids"].shape, width, dtype=torch.double)
    for row, length in enumerate(lengths):
        for token in range(length):
            delta[row, token] = magnitude * next(numbers) / (length * width) ** 0.5
    return delta


def algorithm(student, target, batch, settings):
    """Means of both terms over the steps, the weighted loss, and the perturbations of every step."""
    lengths, count = reference.lengths(batch), settings["steps"]
    embeddings = student.get_input_embeddings().weight[batch["input_ids"]]
    delta = drawn(batch, embeddings.shape[-1], settings["init_magnitude"])
    tasks, kls, deltas = [], [], []
    for _ in range(count):
        delta = delta.detach().requires_grad_()
        deltas.append(delta.detach())
        logits = by_embeddings(student, batch, embeddings + delta)
        tasks.append(reference.task(logits, batch))
        kls.append(reference.soft(logits, target, batch, 2) if target is not None else torch.zeros(()))
        loss = settings["task_weight"] * tasks[-1] + settings["kl_alpha"] * kls[-1]
        (gradient,) = torch.autograd.grad(loss, delta, retain_graph=True)
        moved = delta.detach().clone()
        for row, length in enumerate(lengths):
            step = settings["step_size"] * gradient[row, :length] / norm(gradient[row], length)
            moved[row, :length] += step
            if settings["max_norm"] and (size := norm(moved[row], length)) > settings["max_norm"]:
                moved[row, :length] *= settings["max_norm"] / size
        delta = moved
    task, kl = sum(tasks) / count, sum(kls) / count
    return task, kl, settings["task_weight"] * task + settings["kl_alpha"] * kl, deltas


@pytest.mark.parametrize(
    "changes", [{}, {"max_norm": 0}, {"steps": 1}, {"steps": 2, "init_magnitude": 0}, {"kl_alpha": 0}], ids=str
)
@pytest.mark.parametrize("kind", ["bert", "deberta-v2"])
def test_value_and_gradient_are_the_algorithm(kind, changes):
    settings, batch = VALUES | changes, tiny.batch()
    student, teacher = tiny.model(kind, seed=1), tiny.model("bert", seed=2)
    student64, teacher64 = tiny.double(student), tiny.double(teacher).eval()
    objective = build(student, teacher if settings["kl_alpha"] else None, **changes)
    torch.manual_seed(5)
    terms = objective(**batch)
    terms["loss"].backward()
    with torch.no_grad():
        target = reference.outputs(teacher64, batch)[0] if settings["kl_alpha"] else None
    torch.manual_seed(5)
    task, kl, loss, deltas = algorithm(student64, target, batch, settings)
    loss.backward()
    assert list(terms) == ["loss", "task", *(["kl"] if settings["kl_alpha"] else [])]
    for name, expected in {"task": task, "kl": kl, "loss": loss}.items():
        if name in terms:
            torch.testing.assert_close(terms[name].detach().double(), expected.detach(), rtol=1e-4, atol=1e-5)
    reference.same_gradients(student, student64)
    if settings["max_norm"] and settings["steps"] == 3:
        lengths = reference.lengths(batch)
        sizes = [norm(deltas[2][row], length).item() for row, length in enumerate(lengths)]
        assert max(sizes) == pytest.approx(0.6), "the case must reach the ball"


def captured(objective, batch, seed=5):
    """The embeddings of every step, and the terms."""
    seen = []
    handle = objective.student.register_forward_pre_hook(
        lambda module, given, named: seen.append(named["inputs_embeds"].detach()), with_kwargs=True
    )
    torch.manual_seed(seed)
    terms = objective(**batch)
    handle.remove()
    clean = objective.student.get_input_embeddings()(batch["input_ids"]).detach()
    return [embeddings - clean for embeddings in seen], terms


def test_padding_is_never_moved_and_more_of_it_changes_nothing():
    batch, student = tiny.batch(), tiny.model("bert", seed=1)
    objective, wider = build(student, tiny.model("bert", seed=2)), tiny.wider(batch, 9)
    (narrow, terms), (wide, wide_terms) = captured(objective, batch), captured(objective, wider)
    for one, other in zip(narrow, wide, strict=True):
        torch.testing.assert_close(other[:, :12], one, rtol=1e-3, atol=1e-5)
        assert not other[~wider["attention_mask"].bool()].any()
    for name in terms:
        torch.testing.assert_close(wide_terms[name], terms[name], rtol=1e-4, atol=1e-5)


def test_norms_do_not_count_what_stands_at_padding():
    real = tiny.batch()["attention_mask"].bool()
    torch.manual_seed(0)
    delta, gradient = freelb.start(real, 6, 0.5), torch.randn(3, 12, 6)
    noise = 1e6 * (~real)[..., None] * torch.randn(3, 12, 6)
    clean = freelb.ascend(delta, gradient * real[..., None], real, 0.4, 0.6)
    assert torch.equal(freelb.ascend(delta, gradient + noise, real, 0.4, 0.6), clean)
    assert not clean[~real].any()


def test_the_start_fills_the_ball_evenly_whatever_the_length():
    real = torch.arange(400) < torch.tensor([400, 20, 1])[:, None]
    torch.manual_seed(0)
    delta = freelb.start(real, 64, 0.7)
    assert not delta[~real].any()
    for row, length in enumerate((400, 20, 1)):
        own = delta[row, :length]
        assert norm(delta[row], length).item() == pytest.approx(0.7 / 3**0.5, rel=0.2)
        assert own.abs().max() <= 0.7 / (length * 64) ** 0.5 and own.min() < 0 < own.max()
    assert not freelb.start(real, 64, 0.0).any()


def test_each_step_moves_every_row_uphill_by_the_step_and_stays_in_the_ball():
    batch = tiny.batch()
    objective = build(tiny.model("bert", seed=1), kl_alpha=0, step_size=1e-2, init_magnitude=0.0, max_norm=0, steps=4)
    losses = []
    own_terms = objective.method.terms
    objective.method.terms = lambda *given: losses.append(own_terms(*given)) or losses[-1]
    deltas, terms = captured(objective, batch)
    values = [one["task"].item() for one in losses]
    assert values == sorted(values) and values[-1] > values[0] + 1e-3
    assert terms["task"].item() == pytest.approx(sum(values) / 4)
    for k in range(3):
        for row in range(3):
            assert norm(deltas[k + 1][row] - deltas[k][row], 12).item() == pytest.approx(1e-2, rel=1e-2)
    bounded, _ = captured(build(tiny.model("bert", seed=1), kl_alpha=0, step_size=5.0, max_norm=0.25), batch)
    assert all(norm(delta[row], 12) <= 0.25 * (1 + 1e-4) for delta in bounded[1:] for row in range(3))


def test_a_row_without_a_gradient_stays_where_it_is():
    real = tiny.batch()["attention_mask"].bool()
    delta = freelb.start(real, 6, 0.5)
    gradient = torch.randn(3, 12, 6)
    gradient[1] = 0
    moved = freelb.ascend(delta, gradient, real, 0.4, 0.0)
    assert torch.equal(moved[1], delta[1]) and moved.isfinite().all() and not torch.equal(moved[0], delta[0])


@pytest.mark.parametrize("same", [True, False])
def test_dropout_is_the_same_in_every_step_of_an_update_or_not(same):
    student = tiny.model("bert", seed=1, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3)
    objective = build(student, kl_alpha=0, step_size=0.0, init_magnitude=0.0, same_dropout=same)
    values = []
    own_terms = objective.method.terms
    objective.method.terms = lambda *given: values.append(own_terms(*given)) or values[-1]
    torch.manual_seed(0)
    objective(**tiny.batch()), objective(**tiny.batch())
    distinct = [{one["task"].item() for one in values[i : i + 3]} for i in (0, 3)]
    assert [len(found) for found in distinct] == ([1, 1] if same else [3, 3])
    assert distinct[0] != distinct[1], "every update draws anew"


def test_the_direction_follows_the_weights_of_the_present():
    batch, student = tiny.batch(), tiny.model("bert", seed=1)
    growing = {"value": 3, "schedule": "linear", "warmup": 0.0}
    moves = []
    for step in (0, 9):
        objective = build(student, tiny.model("bert", seed=2), kl_alpha=growing, steps=2, init_magnitude=0.0)
        objective.set_progress(Progress(step, 10, 0))
        moves.append(captured(objective, batch)[0][1])
    alone = captured(build(student, kl_alpha=0, steps=2, init_magnitude=0.0), batch)[0][1]
    torch.testing.assert_close(moves[0], alone)
    assert not torch.allclose(moves[1], alone, atol=1e-2)


def test_soft_targets_are_the_teachers_on_the_input_as_it_is():
    student, teacher, batch = tiny.model("bert", seed=1), tiny.model("bert", seed=2), tiny.batch()
    objective, calls = build(student, teacher), []
    teacher.register_forward_pre_hook(lambda module, given, named: calls.append(named), with_kwargs=True)
    objective(**batch)["loss"].backward()
    assert len(calls) == 1 and torch.equal(calls[0]["input_ids"], batch["input_ids"])
    reference.teacher_is_left_alone(objective, teacher, student)
    assert not list(objective.method.parameters())


def test_without_a_weight_on_it_no_teacher_is_asked_for():
    assert build(tiny.model(), kl_alpha=0).method.needs == frozenset()
    with pytest.raises(UserError, match="lack logits"):
        build(tiny.model())
    scheduled = {"value": 1, "schedule": "linear", "warmup": 0.0}  # 0 at first only
    with pytest.raises(UserError, match="lack logits"):
        build(tiny.model(), kl_alpha=scheduled)


@pytest.mark.parametrize("kind", KINDS)
def test_under_autocast_the_loss_and_the_gradients_are_close_and_finite(kind):
    found = []
    for precision in ("fp32", "bf16"):
        objective = build(tiny.model(kind, seed=1), tiny.model("bert", seed=2))
        torch.manual_seed(5)
        with autocast("cpu", precision) if precision == "bf16" else contextlib.nullcontext():
            terms = objective(**tiny.batch())
        terms["loss"].backward()
        gradient = torch.cat([p.grad.flatten() for p in objective.parameters() if p.grad is not None])
        assert gradient.isfinite().all() and terms["loss"].dtype == torch.float32
        found.append((terms["loss"].item(), gradient))
    assert found[0][0] != found[1][0] and found[1][0] == pytest.approx(found[0][0], rel=0.15)
    assert torch.nn.functional.cosine_similarity(found[0][1], found[1][1], dim=0) > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_of_the_tokens_give_what_the_tokens_give(kind):
    """With δ = 0: positions, token types and norms are added to embeddings as to tokens."""
    model, batch = tiny.model(kind).eval(), tiny.batch()
    real = batch["attention_mask"].bool()
    embeddings = model.get_input_embeddings()(batch["input_ids"])
    by_tokens = forward_pass(model, TASK, batch, hidden=True)
    by_vectors = forward_pass(model, TASK, batch, hidden=True, embeddings=embeddings)
    torch.testing.assert_close(by_vectors.logits[real], by_tokens.logits[real], rtol=1e-4, atol=1e-5)
    for own, expected in zip(by_vectors.hidden, by_tokens.hidden, strict=True):
        torch.testing.assert_close(own[real], expected[real], rtol=1e-4, atol=1e-5)
    moved = forward_pass(model, TASK, batch, embeddings=embeddings.flip(-1)).logits
    assert not torch.allclose(moved[real], by_tokens.logits[real], atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_task_loss_where_nothing_is_moved(kind):
    batch, student = tiny.batch(), tiny.model(kind, seed=1)
    still = build(student, kl_alpha=0, step_size=0.0, init_magnitude=0.0)(**batch)
    expected = TASK.loss(forward_pass(student, TASK, batch).logits, batch)
    torch.testing.assert_close(still["task"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["classification", "regression"])
def test_tasks_with_one_row_of_logits(name):
    labels = ["a", "b", "c"] if name == "classification" else []
    task = load_task(name, labels=labels)
    described = tiny.shape("bert", 1, 8) | {"vocab_size": tiny.VOCAB, "pad_token_id": 0, **task.model_fields()}
    config = AutoConfig.for_model(described.pop("model_type"), **described)
    built = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        built.append(AutoModelForSequenceClassification.from_config(config))
    student, teacher = built
    values = torch.tensor([2, 0, 1]) if labels else torch.tensor([0.5, 2.0, -1.0])
    batch = {k: v for k, v in tiny.batch().items() if not k.endswith("positions")} | {"labels": values}
    objective = build(student, teacher, task)
    deltas, terms = captured(objective, batch)
    task_losses, kls = [], []
    for delta in deltas:
        embeddings = student.get_input_embeddings()(batch["input_ids"]) + delta
        inputs = {"attention_mask": batch["attention_mask"], "token_type_ids": batch["token_type_ids"]}
        with torch.no_grad():
            logits = student(inputs_embeds=embeddings, **inputs).logits.double()
            target = teacher(batch["input_ids"], **inputs).logits.double()
        task_losses.append(task.loss(logits, batch).item())
        kls.append(task.soft(logits, target, batch, 2).item())
    assert terms["task"].item() == pytest.approx(sum(task_losses) / 3, rel=1e-4)
    assert terms["kl"].item() == pytest.approx(sum(kls) / 3, rel=1e-3)
    assert 0.5 * task_losses[2] + 3 * kls[2] > 0.5 * task_losses[0] + 3 * kls[0]


def test_one_step_compares_logits_of_that_step():
    method = build(tiny.model(), kl_alpha=0).method
    logits = torch.randn(3, 12, 2)
    assert set(method.terms(tiny.batch(), Outputs(logits), None)) == {"task"}
    assert set(method.terms(tiny.batch(), Outputs(logits), Outputs(logits))) == {"task", "kl"}


@pytest.mark.parametrize("change", [{"steps": 0}, {"step_size": -1}, {"init_magnitude": -1}, {"max_norm": -1}])
def test_values_that_mean_nothing_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        FREELB.Config(**VALUES | change)
