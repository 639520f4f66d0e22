"""pro_kd: whose turn it is, both phases in value and gradient, and what the parameters must say."""

import pytest
import torch

from distill import parameters
from distill.errors import UserError
from distill.methods import registry, requirements
from distill.methods.base import Distillation, Setup
from distill.methods.pro_kd import turn
from distill.models.forward import Outputs
from distill.training.objective import Progress
from tests.helpers import masked, reference, tiny
from tests.methods.test_mate import TASKS, divergence, entropy, task_loss

PRO_KD = registry.load("pro_kd")
VALUES = {"kl_weight": 3, "task_weight": 0.5, "temperature": 3, "phase1_share": 0.5}


class Checkpoints:
    """Three checkpoints of a teacher, which say the same in different words; notes which are asked."""

    provides = frozenset({"logits"})

    def __init__(self, logits=None):
        self.logits, self.asked = logits, []

    def __len__(self):
        return 3

    def of(self, number, batch):
        self.asked.append(number)
        logits = torch.ones(len(batch["input_ids"]), 3) if self.logits is None else self.logits
        return Outputs(logits * number + number)


def build(name, student, logits=None, **changes):
    method = PRO_KD(PRO_KD.Config(**VALUES | changes), Setup(masked.task(name), student.config, None))
    objective = Distillation(student, method, Checkpoints(logits)).train()
    objective.phases(tiny.training())
    objective.begin(0)
    return objective


def test_every_checkpoint_has_its_turn_and_the_temperature_falls_to_1():
    turns = [turn(step / 8, 3, 4.0) for step in range(9)]
    assert turns == [(1, 4.0)] * 3 + [(2, 2.5)] * 3 + [(3, 1.0)] * 3
    assert [turn(step, 3, 4.0) for step in (0.0, 1.0)] == [(1, 4.0), (3, 1.0)]  # two updates: both ends
    assert turn(0.0, 1, 4.0) == (1, 1.0)


@pytest.mark.parametrize("name", TASKS)
def test_both_phases_are_the_formula_in_value_and_gradient(name):
    student, teacher = masked.models(name)
    batch = masked.batch(name)
    with torch.no_grad():
        logits = masked.by_hand(teacher.eval(), name, batch)
    objective = build(name, student, logits)
    for step, number, temperature in ((0, 1, 3.0), (5, 2, 2.0), (9, 3, 1.0)):
        student64, target = tiny.double(student), logits.double() * number + number
        objective.zero_grad()
        objective.set_progress(Progress(step, 10, 0))
        terms = objective(**batch)
        terms["loss"].backward()
        own, factor = masked.by_hand(student64, name, batch), temperature
        if name == "regression":
            factor = 1.0
        expected = divergence(name, own / factor, target / factor, batch) - entropy(name, target / factor, batch)
        (3 * factor**2 * expected).backward()
        assert list(terms) == ["loss", "kl"]
        reference.same_value(terms["kl"], factor**2 * expected)
        reference.same_gradients(student, student64)
    assert objective._teacher[0].asked == [1, 2, 3]

    objective.begin(1)
    student64 = tiny.double(student)
    objective.zero_grad()
    terms = objective(**batch)
    terms["loss"].backward()
    expected = task_loss(name, masked.by_hand(student64, name, batch), batch)
    (0.5 * expected).backward()
    assert list(terms) == ["loss", "task"] and len(objective._teacher[0].asked) == 3
    reference.same_value(terms["task"], expected)
    reference.same_gradients(student, student64)


def test_more_padding_changes_no_term():
    student, teacher = masked.models("qa")
    batch, found = masked.batch(), []
    for made in (batch, tiny.wider(batch, 9)):
        with torch.no_grad():
            logits = masked.by_hand(teacher.eval(), "qa", made)
        found.append(build("qa", student, logits)(**made))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


def test_a_killed_run_goes_on_with_the_checkpoint_whose_turn_it_was(tmp_path):
    def fresh():
        return build("classification", masked.models("classification")[0])

    whole, killed, resumed = fresh(), fresh(), fresh()
    masked.train(whole, tmp_path / "whole", 12)
    assert whole._teacher[0].asked == [1, 1, 2, 2, 3, 3]
    with pytest.raises(KeyboardInterrupt):
        masked.train(killed, tmp_path / "killed", 12, stop_before=5)
    masked.train(resumed, tmp_path / "killed", 12)
    assert resumed._teacher[0].asked == [3, 3]
    expected, found = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "'pro_kd' follows checkpoints .* teacher.snapshots is 0: set it to the number of them, 3 for example"),
        (
            {"teacher.source": "predictions", "teacher.predictions": "x.jsonl"},
            "teacher.source is 'predictions', which has none",
        ),
        (
            {"teacher.train": False, "teacher.model.path": "someone/ready", "features.tokenizer.path": "someone/ready"},
            "teacher.train is false, so that there is",
        ),
    ],
)
def test_a_teacher_without_checkpoints_of_its_training_is_refused(root, changes, said):
    with pytest.raises(UserError, match=said):
        parameters.load(root / "tests/params.yaml", {"methods": ["pro_kd"]} | changes)


def test_the_checkpoints_logits_are_made_where_a_listed_name_learns_from_them(root):
    changes = {"teacher.snapshots": 2, "early.method": "kd", "early.teacher_snapshot": 1}
    for methods, needed in ((["kd"], False), (["pro_kd"], True), (["kd", "early"], True)):
        params = parameters.load(root / "tests/params.yaml", changes | {"methods": methods})
        assert requirements.needed(params)["snapshots"] is needed
    counts = {"student": 2, "teacher": 4}
    asked = {name: requirements.request(name, params, counts) for name in ("kd", "early", "pro_kd")}
    assert [request.snapshot for request in asked.values()] == [None, 1, None]
    assert asked["pro_kd"].artifacts == ("snapshots",) and not asked["early"].artifacts
    assert all(request.logits and not request.model for request in asked.values())
    assert requirements.deciding("early", params)["teacher_snapshot"] == 1
    assert "teacher_snapshot" not in requirements.deciding("kd", params)
