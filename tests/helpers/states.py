"""Checks for methods that compare hidden states: each method's own term is written out by its test, in float64."""

import pytest
import torch

from distill import parameters as config
from distill.methods import registry
from distill.methods.base import Distillation, Setup
from distill.models.forward import Outputs
from distill.signals.teacher import OnlineTeacher
from distill.tasks.registry import load_task
from distill.training import trainer
from distill.training.run import TrainingRun
from tests.helpers import micro, reference, tiny

QA = load_task("qa")
CLASSES = load_task("classification", labels=["a", "b", "c"])
NUMBER = load_task("regression")


class FirstTokens:
    """A teacher whose states are cached for the first token alone: (B, 1, D)."""

    provides = frozenset({"logits", "cls"})

    def __init__(self, online):
        self.online = online

    def __call__(self, batch):
        found = self.online(batch)
        return Outputs(found.logits, tuple(state[:, :1].clone() for state in found.hidden))


def models_of(depths=(3, 6), width=8):
    """A BERT student of the given width and a DeBERTa teacher of width 12."""
    return tiny.model("bert", depths[0], width, seed=1), tiny.model("deberta-v2", depths[1], 12, seed=2)


def build(name, values, student, teacher, task=QA, seed=0):
    """The method alone; `values` are its whole section."""
    kind = registry.load(name)
    torch.manual_seed(3)
    return kind(kind.Config(**values), Setup(task, student.config, teacher.config, seed=seed))


def objective_of(name, values, student, teacher, seed=0, first_tokens=False):
    """The method with student and teacher, ready to train."""
    signals = OnlineTeacher(teacher, QA, hidden=True, precision="fp32")
    method = build(name, values, student, teacher, seed=seed)
    return Distillation(student, method, FirstTokens(signals) if first_tokens else signals).train()


def maps_of(method):
    """The method's linear maps in float64, in order."""
    return [p.detach().double().requires_grad_() for p in method.parameters()]


def lifted(maps, k, state):
    """What the k-th map makes of states; without maps, themselves."""
    return state @ maps[k].T if maps else state


def inputs(batch):
    """What a model is called with."""
    return {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}


def unit(vector):
    return vector / (vector * vector).sum().sqrt()


def first_token_gap(own, other):
    """Σ over rows and width of the squared difference of unit vectors, divided by rows and width; (B, D) each."""
    total = sum(((unit(a) - unit(b)) ** 2).sum() for a, b in zip(own, other, strict=True))
    return total / (own.shape[0] * own.shape[1])


def same_maps(method, maps):
    parameters = list(method.parameters())
    scale = max((m.grad.abs().max().item() for m in maps), default=0.0)
    for own, expected in zip(parameters, maps, strict=True):
        assert expected.grad.any()
        torch.testing.assert_close(own.grad.double(), expected.grad, rtol=1e-3, atol=1e-5 * scale)


def check_on_questions(name, values, own, term, weights, depths=(3, 6), width=8, progress=None):
    """Value and gradient of every term, for student and maps.

    Args:
        own: (maps, student's states, teacher's states, row lengths) → the method's own term; states in float64.
        weights: of task, kl and the own term, by hand.
    """
    student, teacher = models_of(depths, width)
    student64, teacher64 = tiny.double(student), tiny.double(teacher).eval()
    objective, batch = objective_of(name, values, student, teacher), tiny.batch()
    if progress is not None:
        objective.set_progress(progress)
    maps = maps_of(objective.method)
    terms = objective(**batch)
    terms["loss"].backward()
    logits, hidden = reference.outputs(student64, batch)
    with torch.no_grad():
        target, states = reference.outputs(teacher64, batch)
    expected = {
        "task": reference.task(logits, batch),
        "kl": reference.soft(logits, target, batch, values["temperature"]),
        **({term: own(maps, hidden, states, reference.lengths(batch))} if term else {}),
    }
    total = sum(weight * value for weight, value in zip(weights, expected.values(), strict=True))
    total.backward()
    assert list(terms) == ["loss", *expected]
    for key, value in {**expected, "loss": total}.items():
        reference.same_value(terms[key], value)
    reference.same_gradients(student, student64)
    same_maps(objective.method, maps)
    reference.teacher_is_left_alone(objective, teacher, student)


def check_on_texts(name, values, own, term, weights, depths=(3, 6), width=8):
    """The same with the logits of classification and regression, on states that are drawn at random."""
    student, teacher = models_of(depths, width)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])
    for task, count, labels in ((CLASSES, 3, torch.tensor([2, 0, 1])), (NUMBER, 1, torch.tensor([0.5, -1, 3]))):
        torch.manual_seed(5)
        method = build(name, values, student, teacher, task)
        maps = maps_of(method)
        shapes = [(3, count), *[(3, 4, width)] * (depths[0] + 1)]
        leaves = [torch.randn(shape, requires_grad=True) for shape in shapes]
        leaves64 = [leaf.detach().double().requires_grad_() for leaf in leaves]
        target, states = torch.randn(3, count), [torch.randn(3, 4, 12) for _ in range(depths[1] + 1)]
        found = method.terms(
            {"attention_mask": mask, "labels": labels},
            Outputs(leaves[0], tuple(leaves[1:])),
            Outputs(target, tuple(states)),
        )
        logits, t, target = leaves64[0], values["temperature"], target.double()
        if task is CLASSES:
            gold = sum(-reference.log_p(row)[label] for row, label in zip(logits, labels, strict=True)) / 3
            kl = 0.0
            for row, other in zip(logits, target, strict=True):
                p, q = reference.log_p(other / t), reference.log_p(row / t)
                kl = kl + t * t * (p.exp() * (p - q)).sum() / 3
        else:
            gold = sum((logits[row, 0] - labels[row]) ** 2 for row in range(3)) / 3
            kl = sum((logits[row, 0] - target[row, 0]) ** 2 for row in range(3)) / 3
        expected = {"task": gold, "kl": kl}
        if term:
            states64 = [state.double() for state in states]
            expected[term] = own(maps, leaves64[1:], states64, mask.sum(1).tolist())
        assert list(found) == list(expected)
        for key, value in expected.items():
            reference.same_value(found[key], value)
        sum(weight * found[key] for weight, key in zip(weights, expected, strict=True)).backward()
        sum(weight * value for weight, value in zip(weights, expected.values(), strict=True)).backward()
        scale = max(leaf.grad.abs().max().item() for leaf in leaves64 if leaf.grad is not None)
        for leaf, leaf64 in zip(leaves, leaves64, strict=True):
            if leaf64.grad is None:
                assert leaf.grad is None or not leaf.grad.any()
                continue
            torch.testing.assert_close(leaf.grad.double(), leaf64.grad, rtol=1e-3, atol=1e-5 * scale)
        same_maps(method, maps)


def check_padding(name, values, depths=(3, 6)):
    """More padding changes no term."""
    objective = objective_of(name, values, *models_of(depths))
    narrow, wide = objective(**tiny.batch()), objective(**tiny.wider(tiny.batch(), 9))
    for key in narrow:
        torch.testing.assert_close(wide[key], narrow[key], rtol=1e-5, atol=1e-6)


def check_first_tokens(name, values, depths=(3, 6)):
    """States of the first token alone are enough."""
    pair = models_of(depths)
    full, cached = (objective_of(name, values, *pair, first_tokens=only)(**tiny.batch()) for only in (False, True))
    assert list(full) == list(cached)
    for key in full:
        torch.testing.assert_close(cached[key], full[key])


def check_maps_train_and_are_dropped(name, values, count, depths=(3, 6)):
    """`count` maps beside the student where widths differ; an update moves each."""
    student, teacher = models_of(depths)
    objective = objective_of(name, values, student, teacher)
    before = {key: value.clone() for key, value in objective.state_dict().items()}
    extra = [key for key in before if key.startswith("method.")]
    assert len(extra) == count
    objective(**tiny.batch())["loss"].backward()
    torch.optim.SGD(objective.parameters(), 0.1).step()
    after = objective.state_dict()
    assert not [key for key in extra if torch.equal(before[key], after[key])]
    assert not [key for key in student.state_dict() if "lifts" in key or "maps" in key]


def load(name, depths, **changes):
    """params.yaml with the method listed, models of (student, teacher) layers, and values of its section changed."""
    stated = {
        f"{role}.model.config.num_hidden_layers": n for role, n in zip(("student", "teacher"), depths, strict=True)
    }
    listed = {"methods": [name]}
    own = {f"{name}.{field}": value for field, value in changes.items()}
    return config.load(micro.ROOT / "tests/params.yaml", stated | listed | own)


class Killed(BaseException):
    """As abrupt as a signal: nothing of the training catches it."""


def check_trains_and_resumes(name, values, term, folder, depths=(3, 6)):
    """The own term falls over three epochs; a training killed in the second goes on to the same bytes.

    Returns:
        the teacher layers (`layers` of the method, where it has them) seen at each step of the resumed training.
    """
    pair, rows = models_of(depths), tiny.features(24)

    def run(objective, where):
        labels = QA.labels
        settings = tiny.training(max_steps=18, learning_rate=5e-3)
        given = (rows, 0, labels, settings, tiny.runtime(), 1, folder / where, "test")
        return trainer.train(TrainingRun(objective, *given))

    def fresh():
        student, teacher = models_of(depths)
        return objective_of(name, values, student, teacher, seed=1)

    whole = fresh()
    history = run(whole, "whole").history
    assert history[-1][term] < history[0][term]
    broken, steps = fresh(), 0

    def stop(*_):
        nonlocal steps
        steps += 1
        if steps == 12:
            raise Killed

    broken.register_forward_pre_hook(stop)
    with pytest.raises(Killed):
        run(broken, "killed")
    resumed, seen = fresh(), []
    resumed.register_forward_pre_hook(lambda *_: seen.append(getattr(resumed.method, "layers", None)))
    assert run(resumed, "killed").resumed_from == 10
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    assert any(not torch.equal(a, b) for a, b in zip(whole.student.parameters(), pair[0].parameters(), strict=True))
    return seen
