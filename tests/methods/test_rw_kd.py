"""rw_kd: the rows' weights against single gradients in float64, its loss, and what the weights must not depend on."""

import pytest
import torch

from distill import parameters
from distill.errors import UserError
from distill.losses.terms import TEACHER_WEIGHT
from distill.methods import registry
from distill.methods.base import Distillation, Setup
from distill.models.forward import Outputs
from distill.training.objective import Progress
from tests.helpers import masked, reference, text, tiny
from tests.methods.test_mate import TASKS, divergence, entropy, task_loss

RW_KD = registry.load("rw_kd")
VALUES = {"task_weight": 0.5, "kl_alpha": 2, "temperature": 1, "held_out": 0.3, "held_out_batch": 4}


class Fixed:
    """A teacher with these logits, whatever the batch."""

    provides = frozenset({"logits"})

    def __init__(self, logits=None):
        self.logits = logits

    def __call__(self, batch):
        return Outputs(torch.zeros(len(batch["input_ids"]), 3) if self.logits is None else self.logits)


def rows_of(name):
    return tiny.features() if name == "qa" else text.features(numeric=name == "regression")


def batch_of(name, **more):
    made = masked.batch(name) | more
    # None of these is held out with seed 0.
    return made | {"index": torch.tensor([1000, 1001, 1002])}


def build(name, student, target=None, **changes):
    setup = Setup(masked.task(name), student.config, None, 0, tiny.tokenizer(), features=rows_of(name))
    return Distillation(student, RW_KD(RW_KD.Config(**VALUES | changes), setup), Fixed(target)).train()


def one(batch, row):
    return {name: value[row : row + 1] for name, value in batch.items()}


def by_hand(student64, name, batch, target64, held):
    """Losses of each row, (2, B), and their weights, from a gradient for each."""
    logits = masked.by_hand(student64, name, batch)
    losses = [
        torch.stack([task_loss(name, logits[row : row + 1], one(batch, row)) for row in range(3)]) * 0.5,
        torch.stack(
            [
                divergence(name, logits[row : row + 1], target64[row : row + 1], one(batch, row))
                - entropy(name, target64[row : row + 1], one(batch, row))
                for row in range(3)
            ]
        )
        * 2,
    ]
    parameters = list(student64.parameters())
    judge = task_loss(name, masked.by_hand(student64, name, held), held)
    direction = torch.autograd.grad(judge, parameters, allow_unused=True)

    def product(loss):
        own = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        return sum((a * b).sum() for a, b in zip(own, direction, strict=True) if a is not None and b is not None)

    slopes = torch.stack([torch.stack([product(loss) for loss in rows]) for rows in losses])
    return torch.stack(losses), slopes


@pytest.mark.parametrize("kind", ["bert", "deberta-v2", "distilbert"])
@pytest.mark.parametrize("name", TASKS)
def test_weights_and_loss_are_those_of_single_gradients(name, kind):
    student, teacher = masked.models(name, kind)
    student64, batch = tiny.double(student), batch_of(name)
    with torch.no_grad():
        target = masked.by_hand(teacher.eval(), name, batch)
    objective = build(name, student, target)
    objective.set_progress(Progress(3, 10, 0))
    held = objective.method.held_out.batch(3, 4)
    losses, slopes = by_hand(student64, name, batch, target.double(), held)
    rectified = slopes.clamp(min=0)
    expected = (2 * rectified / rectified.sum()).detach()
    assert (expected > 0).sum() > 1 and expected.unique().numel() > 2
    assert (slopes < 0).any() or (name == "qa" and kind != "distilbert")

    found = objective.method.row_weights(batch, student, target)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-5)
    terms = objective(**batch)
    terms["loss"].backward()
    total = (expected * losses).sum()
    total.backward()
    reference.same_value(terms["task"], (expected * losses)[0].sum() / 0.5)
    reference.same_value(terms["kl"], (expected * losses)[1].sum() / 2)
    reference.same_value(terms["task_share"], expected[0].sum() / 2)
    reference.same_value(terms["loss"], total)
    reference.same_gradients(student, student64)


def test_rows_that_are_held_out_and_those_that_would_raise_the_loss_weigh_nothing():
    student, _ = masked.models("classification")
    objective, batch = build("classification", student), batch_of("classification")
    method, target = objective.method, torch.randn(3, 3)
    free = method.row_weights(batch, student, target)
    kept = batch | {"index": torch.tensor([1000, int(method.held[0]), 1002])}
    held = method.row_weights(kept, student, target)
    assert free[:, 1].sum() > 0 and held[:, 1].tolist() == [0, 0]
    torch.testing.assert_close(held.sum(), torch.tensor(2.0))
    untaught = method.row_weights(batch | {TEACHER_WEIGHT: torch.zeros(3)}, student, target)
    assert untaught[1].tolist() == [0, 0, 0] and untaught[0].sum() == pytest.approx(2)
    nothing = method.row_weights({**batch, "index": method.held[:3]}, student, target)
    assert nothing.tolist() == torch.zeros(2, 3).tolist()
    terms = objective(**{**batch, "index": method.held[:3]})
    terms["loss"].backward()
    assert terms["loss"] == 0 and all(p.grad is None or not p.grad.any() for p in student.parameters())


def test_a_row_without_a_label_learns_from_its_soft_targets_alone():
    student, _ = masked.models("classification")
    objective, batch = build("classification", student), batch_of("classification")
    batch["labels"][1] = -100
    weights = objective.method.row_weights(batch, student, torch.randn(3, 3))
    assert weights[0, 1] == 0 and weights.sum() == pytest.approx(2)


def test_dropout_changes_no_weight_and_weights_draw_nothing():
    student = text.model("bert", 2, 8, 1, 3, hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5)
    objective, batch, target = build("classification", student), batch_of("classification"), torch.randn(3, 3)
    state = torch.get_rng_state()
    found = [objective.method.row_weights(batch, student, target) for _ in range(2)]
    assert torch.equal(*found) and torch.equal(torch.get_rng_state(), state) and student.training
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(objective.method.row_weights(batch, student, target), found[0])
        objective(**batch)["loss"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in student.parameters())


@pytest.mark.parametrize("name", ["qa", "classification"])
def test_more_padding_changes_no_term(name):
    student, teacher = masked.models(name)
    batch = batch_of(name)
    wide = tiny.wider(batch, 9)
    found = []
    for made in (batch, wide):
        with torch.no_grad():
            target = masked.by_hand(teacher.eval(), name, made)
        found.append(build(name, student, target)(**made))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


def test_a_killed_run_goes_on_with_the_same_rows_held_out(tmp_path):
    def fresh():
        return build("classification", masked.models("classification")[0])

    whole, killed, resumed = fresh(), fresh(), fresh()
    masked.train(whole, tmp_path / "whole", 6)
    with pytest.raises(KeyboardInterrupt):
        masked.train(killed, tmp_path / "killed", 6, stop_before=5)
    result, _ = masked.train(resumed, tmp_path / "killed", 6)
    assert result.resumed_from == 4
    expected, found = whole.state_dict(), resumed.state_dict()
    assert set(found) == set(expected) and all(torch.equal(expected[name], found[name]) for name in expected)
    assert all(name.startswith("student.") for name in found)


def test_what_it_cannot_work_with_is_refused(root):
    student, _ = masked.models("classification")
    with pytest.raises(UserError, match="rw_kd holds training rows out"):
        RW_KD(RW_KD.Config(**VALUES), Setup(masked.task("classification"), student.config, None, 0, tiny.tokenizer()))
    with pytest.raises(UserError, match="'disentangled_flash' has no forward-mode derivative"):
        parameters.load(root / "tests/params.yaml", {"methods": ["rw_kd"], "runtime.attention": "disentangled_flash"})
    with pytest.raises(UserError, match="'rw_kd': task ranking: a passage has no loss of its own"):
        RW_KD.check_task("ranking")
